#!/usr/bin/env python3
"""Turns captures of a running reference system into vectors.tsv: one vector a line.

usage: extract.py FOLDER_OF_CAPTURES > vectors.tsv

Columns: name, kind, codec, hex, expected. `hex` is what was on the wire ("-": the text of `expected`), `expected` the capture's own decoded form
as compact JSON in the order of the wire (never made by Weir's code), without what Weir leaves out on purpose:
  item     nulls, `tokens`, `output_type`, null token details
  request  UUIDs are text
Repeated items of a stream are left out.
"""
import json
import os
import sys
import uuid

lines = []
seen = set()


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def emit(name, kind, codec, hexed, expected):
    text = expected if isinstance(expected, str) else compact(expected)
    same = (kind, text if hexed == "-" else hexed)
    if same in seen or not hexed:
        return
    seen.add(same)
    assert "\t" not in text and "\n" not in text
    lines.append("\t".join((name, kind, codec or "-", hexed, text)))


def without_nulls(value, drop=()):
    return {k: v for k, v in value.items() if v is not None and k not in drop}


def tidy_item(wrapper):
    """What is left of {"data": {"data": ENGINE OUTPUT}} when absent and null are the same."""
    if not isinstance(wrapper, dict) or not isinstance(wrapper.get("data"), dict):
        return wrapper
    item = dict(wrapper["data"])
    if isinstance(item.get("data"), dict):
        out = without_nulls(item["data"], ("tokens", "output_type"))
        usage = out.get("completion_usage")
        if usage:
            usage = without_nulls(usage)
            if "prompt_tokens_details" in usage:
                usage["prompt_tokens_details"] = without_nulls(usage["prompt_tokens_details"])
            out["completion_usage"] = usage
        item["data"] = out
    return {**wrapper, "data": item}


ANSWERS = {"TreeDump", "Events", "TooNew", "InvalidRange", "Error"}


def stream_frames(name, frames, codec):
    items = 0
    for n, frame in enumerate(frames or []):
        hexed = frame.get("hex")
        label = f"{name}/{n}"
        if not hexed:
            continue
        if "header" in frame:
            emit(label, "header", "json", hexed, frame["header"])
        elif "body" in frame:
            body = frame["body"]
            data = body.get("data") if isinstance(body, dict) else None
            if isinstance(data, dict) and ANSWERS & set(data):
                emit(label, "answer", codec, hexed, body)
                continue
            items += 1
            plain = isinstance(data, dict) and isinstance(data.get("data"), dict)
            ended = plain and (data["data"].get("finish_reason") or len(data["data"]) > 9)
            if items <= 2 or not plain or ended:
                emit(label, "item", codec, hexed, tidy_item(body))


def exchange(name, value):
    request = value["request"]
    control = request.get("control") or {}
    codec = control.get("payload_codec", "json") if isinstance(control, dict) else "json"
    body = request["body"]
    kind = "request"
    if isinstance(body, dict):
        handoff = (body.get("bootstrap_info") or {}).get("handoff_id", "")
        if handoff.startswith("hex:"):
            body["bootstrap_info"] = {**body["bootstrap_info"], "handoff_id": str(uuid.UUID(handoff[4:]))}
        kind = "query" if "worker_id" in body else kind
    # A JSON body without members that Weir leaves out is its own expectation.
    own = codec == "json" and kind == "request" and body == request["body"]
    expected = {"path": request["path"], "headers": request["headers"], "control": control}
    emit(name, kind, codec, request["hex"], expected if own else {**expected, "body": body})
    if value.get("ack"):
        emit(name + "/ack", "reply", "-", value["ack"]["hex"], value["ack"]["text"] or "")
    stream_frames(name, value.get("response_connection"), codec)


def find_exchanges(name, value):
    if not isinstance(value, dict):
        return
    if isinstance(value.get("request"), dict) and "hex" in value["request"]:
        exchange(name, value)
        return
    for key, member in value.items():
        find_exchanges(f"{name}/{key}", member)


def zmq(name, message):
    frames = message["frames"]
    topic = bytes.fromhex(frames[0]).decode()
    kind = {"kv-events": "events", "kv_metrics": "load"}.get(topic, "envelope")
    payload = message.get("payload")
    expected = {"topic": topic, "publisher": int(frames[1], 16), "sequence": int(frames[2], 16),
                "envelope": message.get("envelope"), "payload": payload}
    emit(name, kind, "msgpack", frames[3], expected)


def find_zmq(name, value):
    if isinstance(value, dict):
        if isinstance(value.get("frames"), list) and len(value["frames"]) == 4:
            zmq(name, value)
        else:
            for key, member in value.items():
                find_zmq(f"{name}/{key}", member)
    elif isinstance(value, list):
        for n, member in enumerate(value):
            find_zmq(f"{name}/{n}", member)


def records(name, value):
    if isinstance(value.get("keys"), list):
        pairs = [(e["key"], e["value"]) for e in value["keys"]]
    elif "instances" in value:
        pairs = list(value["instances"].items())
    else:
        pairs = list(value.items())
    for key, record in pairs:
        emit(f"{name}:{key}", "record", "json", "-", record)


def scripted(name, value):
    """Streams sent to a real frontend, with the HTTP status that it gave."""
    for case, member in value.items():
        if not isinstance(member, dict) or "worker_frames_after_handshake" not in member:
            continue
        frames = [f if isinstance(f, str) else f.get("hex", "") for f in member["worker_frames_after_handshake"]]
        emit(f"{name}/{case}", "stream", "json", "".join(frames) or "00" * 0, str(member["unary"]["status"]))


def answers(name, value):
    """Answers that were kept in decoded form only."""
    for n, query in enumerate(value["queries_by_hand"]):
        for frame in query["response_frames"]:
            if isinstance(frame, dict) and "data" in frame and len(compact(frame)) < 5000:
                emit(f"{name}/by_hand/{n}", "answer", "json", "-", frame)


def main(folder):
    for file in sorted(os.listdir(folder)):
        if not file.endswith(".json"):
            continue
        with open(os.path.join(folder, file), encoding="utf-8") as f:
            value = json.load(f)
        name = file[: -len(".json")]
        if name.startswith(("file-discovery", "etcd-discovery", "disagg")):
            records(name, value)
        if name.startswith("frontend-vs-scripted-worker-1.6"):
            scripted(name, value)
        if name == "mdcsum-vectors":
            for n, v in enumerate(value):
                emit(f"{name}/{n}", "mdcsum", "-", v["hashed_hex"], v["mdc_sum"])
            continue
        if name.startswith("kv-recovery"):
            answers(name, value)
        find_exchanges(name, value)
        find_zmq(name, value)
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1])
