"""A real Dynamo on the other side, as in interop_dynamo.py, but all meet through a real etcd, which is Dynamo's own default."""
import json
import re

import pytest

from etcd import Etcd
from interop_dynamo import (BLOCK, VERSION, Http, check_routing, check_serving, dynamo, dynamo_front,  # noqa: F401
                            dynamo_mocker, files, model, pytestmark, theirs)
from nats_server import BINARY as NATS, WHY_NOT, NatsServer
from weir import until


@pytest.fixture
def etcd(tmp_path, fleet, theirs):  # noqa: F811
    e = Etcd(tmp_path / "etcd")
    fleet.env.update({"DYN_DISCOVERY_BACKEND": "etcd", "ETCD_ENDPOINTS": e.url, "ETCD_LEASE_TTL": "5"})
    yield e
    for p in theirs:
        p.kill()
    try:
        fleet.close()
    finally:
        fleet.processes.clear()
        e.stop()


def test_dynamo_workers_behind_weir(fleet, theirs, dynamo, model, etcd):  # noqa: F811
    workers = dynamo_mocker(theirs, fleet, dynamo, model)
    front = fleet.frontend("--router-mode", "kv", *files(model))
    api = Http(front.port).serving()
    check_serving(api)

    def restart():
        front.stop()
        return Http(fleet.frontend("--router-mode", "kv", *files(model)).port).serving()

    again = check_routing(api, restart, usage=VERSION >= "1.6")  # older workers send no usage
    # A short absence of etcd: nobody notices but the log.
    ours = fleet.processes[-1]
    at = len(ours.lines)
    etcd.kill()
    ours.wait_line("what is known stays in use", at)
    check_serving(again)
    at = len(ours.lines)
    etcd.start()
    ours.wait_line("connected to etcd", at)
    check_serving(again)
    # Killed: its records expire, and the model goes.
    workers.kill()
    until("the model to go", lambda: json.loads(again.ask("GET", "/v1/models")[1])["data"] == [], 60)


def test_weir_workers_behind_dynamo(fleet, theirs, dynamo, model, etcd):  # noqa: F811
    ours = fleet.mocker("--model-path", model, "--block-size", str(BLOCK), workers=2)

    def restart():
        theirs[-1].kill()
        return dynamo_front(theirs, fleet, dynamo, "--router-mode", "kv")

    api = dynamo_front(theirs, fleet, dynamo, "--router-mode", "kv")
    check_serving(api)
    again = check_routing(api, restart)
    assert ours.stop() == 0
    until("the model to go", lambda: json.loads(again.ask("GET", "/v1/models")[1])["data"] == [], 60)


def shape(value):
    """Names and types, without what differs from process to process."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    return type(value).__name__


KINDS = ("Endpoint", "EventChannel", "EventSource")


def records_of(etcd):
    """{kind: {key without ids: shape}} of every kind but the card."""
    out = {kind: {} for kind in KINDS}
    for key, (value, _) in etcd.records().items():
        if value["type"] in out:
            out[value["type"]][nameless(key)] = shape(value)
    return out


def nameless(key):
    return re.sub(r"[0-9a-f]{8,}", "ID", key)


def all_written(read):
    """The records of a mocker of ours: two endpoints, two channels, one source. {kind: {key: shape}}."""
    until(lambda: f"all records of our worker; there are {[(k, list(v)) for k, v in (read() or {}).items()]}",
          lambda: [len(v) for v in (read() or {}).values()] == [2, 2, 1])
    return read()


def compare_records(mine, read):
    """Dynamo registers one record after another, in no order: each of ours must come in the end, with the same members."""
    def missing():
        other = read() or {}
        return [(kind, key) for kind in mine for key in mine[kind] if key not in other.get(kind, {})]
    until(lambda: f"Dynamo's worker to register {missing()}; there are {[(k, list(v)) for k, v in (read() or {}).items()]}",
          lambda: not missing(), 120)
    # It names the device as well, which Weir's mocker has none of.
    drop = lambda v: {k: drop(x) for k, x in v.items() if k != "device_type"} if isinstance(v, dict) else v  # noqa: E731
    other = read()
    for kind, records in mine.items():
        assert records
        for key, value in records.items():
            assert drop(other[kind][key]) == drop(value), key


@pytest.fixture
def nats(fleet):
    """Both planes over NATS: with etcd that was Dynamo's default for long. Named before `etcd`, so closed after the fleet."""
    if NATS is None:
        pytest.skip(WHY_NOT)
    server = NatsServer(fleet.folder)
    fleet.env.update(NATS_SERVER=server.url, DYN_REQUEST_PLANE="nats", DYN_EVENT_PLANE="nats")
    yield server
    server.kill()


def test_dynamo_workers_behind_weir_with_nats(fleet, theirs, dynamo, model, nats, etcd):  # noqa: F811
    test_dynamo_workers_behind_weir(fleet, theirs, dynamo, model, etcd)


def test_weir_workers_behind_dynamo_with_nats(fleet, theirs, dynamo, model, nats, etcd):  # noqa: F811
    test_weir_workers_behind_dynamo(fleet, theirs, dynamo, model, etcd)


def test_both_write_the_same_with_nats(fleet, theirs, dynamo, model, nats, etcd):  # noqa: F811
    test_both_write_the_same(fleet, theirs, dynamo, model, etcd)
    subjects = sorted(value["transport"]["nats_tcp"] for value, _ in etcd.records().values() if value["type"] == "Endpoint")
    assert len(subjects) == 2 and subjects[0].startswith("dynamo_backend.generate-"), subjects


def test_both_write_the_same(fleet, theirs, dynamo, model, etcd):  # noqa: F811
    """Every kind of record but the card, whose members are compared elsewhere: the same keys, the same members."""
    flags = ("--model-path", model, "--block-size", str(BLOCK))
    ours = fleet.mocker(*flags, workers=1)
    mine = all_written(lambda: records_of(etcd))
    assert ours.stop() == 0 and etcd.records() == {}
    dynamo_mocker(theirs, fleet, dynamo, model, workers=1)
    compare_records(mine, lambda: records_of(etcd))
