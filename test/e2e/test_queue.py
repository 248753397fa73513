"""Why a request went where it went, who waits how long, and who stays where: explain, the decision
log, the admission queue, session affinity."""
import json
import threading

from weir import sse, until

LONG = "the quick brown fox jumps over the lazy dog. " * 40


def explained(answer):
    return json.loads(answer.headers["x-weir-explain"])


def test_explain_header(fleet):
    fleet.mocker(workers=3)
    front = fleet.frontend("--router-mode", "kv").ready(workers=3)
    plain = front.chat(LONG)
    assert plain.status == 200 and "x-weir-explain" not in plain.headers
    first = explained(front.chat(LONG, headers={"x-weir-explain": "1"}))
    assert first["mode"] == "kv" and first["n_candidates"] == 3 and len(first["candidates"]) == 3
    winner = first["candidates"][0]
    assert winner["worker_id"] == first["worker_id"]
    assert winner["cost"] == min(c["cost"] for c in first["candidates"])
    # The prompt is cached where it went: the record shows the blocks.
    again = until("the cache to be known", lambda: (lambda e: e if any(
        c["device_blocks"] > 0 for c in e["candidates"]) else None)(
            explained(front.chat(LONG, headers={"x-weir-explain": "1"}))))
    assert again["candidates"][0]["device_blocks"] == max(c["device_blocks"] for c in again["candidates"])
    assert again["why"].startswith("lowest_cost")
    stream = front.chat(LONG, headers={"x-weir-explain": "1"}, stream=True)
    assert explained(stream)["worker_id"] in {c["worker_id"] for c in first["candidates"]}
    assert sse(stream.body)[-1] == "[DONE]"
    assert front.get("/v1/router/explain?request_id=x").status == 404


def test_explain_page_and_decision_log(fleet, tmp_path):
    log = tmp_path / "decisions.ndjson"
    fleet.mocker(workers=2)
    front = fleet.frontend("--router-mode", "kv", "--router-explain-ring", "4",
                           "--decision-log", str(log)).ready(workers=2)
    ids = [front.chat(f"{i} " + LONG).json()["id"] for i in range(6)]
    page = front.get(f"/v1/router/explain?request_id={ids[-1]}")
    assert page.status == 200
    (decision,) = page.json()["decisions"]
    assert ids[-1].endswith(decision["request_id"])
    assert decision["model"] == "m" and len(decision["inputs"]["rng"]) == 4
    assert front.get(f"/v1/router/explain?request_id={ids[0]}").status == 404, "the ring holds four"
    assert front.get("/v1/router/explain").status == 400
    assert front.stop() == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert ["chatcmpl-" + line["request_id"] for line in lines] == ids
    for line in lines:
        chosen = line["candidates"][line["winner"]]
        assert chosen["worker_id"] == line["worker_id"]
        assert chosen["cost"] == min(c["cost"] for c in line["candidates"])
