"""A real Dynamo on the other side, as in interop_dynamo.py, but all meet through the API server of Kubernetes, which is the default
of Dynamo's operator. The server is kube_api.py; the test plays operator and kubelet."""
import json

import pytest

from interop_dynamo import (BLOCK, VERSION, Http, check_routing, check_serving, dynamo, dynamo_env, files, model,  # noqa: F401
                            pytestmark, theirs, workers_of)
from interop_etcd import all_written, compare_records, nameless, shape
from kube_api import KubeApi
from weir import Process, kept_port, until


@pytest.fixture
def api(tmp_path, fleet, theirs):  # noqa: F811
    a = KubeApi(tmp_path / "kube")
    fleet.env.update({"DYN_DISCOVERY_BACKEND": "kubernetes", "KUBECONFIG": a.folder + "/kubeconfig", "POD_NAMESPACE": a.namespace})
    yield a
    for p in theirs:
        p.kill()
    try:
        fleet.close()
    finally:
        fleet.processes.clear()
        a.stop()


def pod(fleet, name):
    return {**fleet.env, "POD_NAME": name, "POD_UID": "uid-of-" + name}


def dynamo_worker(theirs, fleet, python, model, name):  # noqa: F811
    p = Process([python, "-m", "dynamo.mocker", "--model-path", model, "--model-name", "m", "--block-size", str(BLOCK),
                 "--speedup-ratio", "0"], {**dynamo_env(fleet), **pod(fleet, name)}, "dynamo.mocker")
    theirs.append(p)
    return p


def dynamo_front(theirs, fleet, python, *flags):  # noqa: F811
    port = kept_port()
    theirs.append(Process([python, "-m", "dynamo.frontend", "--http-port", str(port), "--http-host", "127.0.0.1", *flags],
                          {**dynamo_env(fleet), **pod(fleet, "front")}, "dynamo.frontend"))
    return Http(port).serving()


def test_dynamo_workers_behind_weir(fleet, theirs, dynamo, model, api):  # noqa: F811
    names = ("d-0", "d-1")
    for name in names:
        dynamo_worker(theirs, fleet, dynamo, model, name)
    front = fleet.frontend("--router-mode", "kv", *files(model))
    for name in names:
        api.registered(name, "endpoints")
    front.wait_line("connected to the API server")
    assert json.loads(front.get("/v1/models").body)["data"] == []  # nobody is ready
    # Dynamo's mocker looks for its own endpoint before it goes on: it has to be ready by then, as it is by its own /health.
    api.slice("workers", *((name, True) for name in names))
    for name in names:
        api.registered(name, "endpoints", "model_cards", "event_channels", "event_sources")
    http = Http(front.port).serving()
    front.ready(workers=2)
    check_serving(http)

    def restart():
        front.stop()
        return Http(fleet.frontend("--router-mode", "kv", *files(model)).ready(workers=2).port)

    again = check_routing(http, restart, usage=VERSION >= "1.6")
    ours = fleet.processes[-1]
    # A worker that is not ready is not asked; the API server may be away.
    api.slice("workers", ("d-0", True), ("d-1", False))
    until("one worker", lambda: len({i["instance_id"] for i in ours.get("/health").json()["instances"]}) == 1)
    at = len(ours.lines)
    api.stop()
    ours.wait_line("what is known stays in use", at)
    check_serving(again, requests=40)
    api.start()
    api.slice("workers", *((name, False) for name in names))
    until("the model to go", lambda: json.loads(again.ask("GET", "/v1/models")[1])["data"] == [])


def test_weir_workers_behind_dynamo(fleet, theirs, dynamo, model, api):  # noqa: F811
    names = ("w-0", "w-1")
    mockers = [fleet.mocker("--model-path", model, "--block-size", str(BLOCK), env=pod(fleet, name)) for name in names]
    for name in names:
        api.registered(name, "endpoints", "model_cards", "event_channels", "event_sources")
    api.slice("workers", *((name, True) for name in names))
    http = dynamo_front(theirs, fleet, dynamo, "--router-mode", "kv")
    check_serving(http)

    def restart():
        theirs[-1].kill()
        return dynamo_front(theirs, fleet, dynamo, "--router-mode", "kv")

    again = check_routing(http, restart)
    # One goes in order: its records are taken out, nothing is lost. Then the other is not ready any more.
    assert mockers[0].stop() == 0
    assert api.records("w-0") is not None and not any(api.records("w-0").values())
    until("Dynamo's frontend to see it gone", lambda: workers_of(again) == 1)
    check_serving(again, requests=40)
    api.slice("workers", ("w-1", False))
    until("the model to go", lambda: json.loads(again.ask("GET", "/v1/models")[1])["data"] == [], 60)


def test_both_write_the_same(fleet, theirs, dynamo, model, api):  # noqa: F811
    """The same instance id for the same pod, and the same object but for the card, whose members are compared elsewhere."""
    def read():
        data = api.records("pod-x")
        return data and {kind: {nameless(key): shape(value) for key, value in (data.get(kind) or {}).items()}
                         for kind in ("endpoints", "event_channels", "event_sources")}

    def whose():
        """Of the object that stands there now."""
        cr = api.objects["dynamoworkermetadatas"]["pod-x"]
        ids = {r["instance_id"] for r in cr["spec"]["data"]["endpoints"].values()}
        return ids, cr["metadata"]["ownerReferences"], cr["metadata"]["managedFields"]

    ours = fleet.mocker("--model-path", model, "--block-size", str(BLOCK), env=pod(fleet, "pod-x"))
    mine, owner = all_written(read), whose()
    assert ours.stop() == 0
    api.delete("dynamoworkermetadatas", "pod-x")
    dynamo_worker(theirs, fleet, dynamo, model, "pod-x")
    api.slice("workers", ("pod-x", True))
    compare_records(mine, read)
    assert whose() == owner
    asked = {(v, p): q for v, p, q in api.calls}
    assert asked["patch", "dynamoworkermetadatas"] == {"force": "true", "fieldManager": "dynamo-worker"}


def test_containers_of_one_pod(fleet, theirs, dynamo, model, api):  # noqa: F811
    """One container is Dynamo's, one Weir's: under one pod, and told apart."""
    if VERSION < "1.6":
        pytest.skip("container mode came later")
    fleet.env["DYN_KUBE_DISCOVERY_MODE"] = "container"
    theirs.append(Process([dynamo, "-m", "dynamo.mocker", "--model-path", model, "--model-name", "m", "--block-size", str(BLOCK),
                           "--speedup-ratio", "0"], {**dynamo_env(fleet), **pod(fleet, "p"), "CONTAINER_NAME": "engine-1"}, "dynamo.mocker"))
    fleet.mocker("--model-path", model, "--block-size", str(BLOCK), env={**pod(fleet, "p"), "CONTAINER_NAME": "main"})
    for cr in ("p", "p-engine-1"):
        until(cr, lambda: (api.records(cr) or {}).get("endpoints"), 120)
    api.put("pods", {"metadata": {"name": "p", "uid": "uid-of-p", "labels": {"nvidia.com/dynamo-discovery-enabled": "true"}},
                     "status": {"containerStatuses": [{"name": n, "ready": True} for n in ("main", "engine-1")]}})
    front = fleet.frontend("--router-mode", "round-robin", *files(model)).ready(workers=2)
    check_serving(Http(front.port), requests=40)
