"""Discovery through Kubernetes: what stands there, and what happens when workers, the API server or the way to it fail."""
import glob
import json
import os
import urllib.request

import pytest

from etcd import b64
from kube_api import KINDS, LABELS, KubeApi
from test_etcd import Load, workers
from weir import WEIR, Process, knows, total, until

QUIET = {"DYN_LOG": "info,kube=debug"}


@pytest.fixture
def api(tmp_path, fleet):
    """The fleet is closed first, and so leaves an API server that is still there."""
    a = KubeApi(tmp_path / "kube")
    fleet.env.update(a.env(), **QUIET)
    yield a
    if a.server is None:
        a.start()
    try:
        fleet.close()
    finally:
        fleet.processes.clear()
        a.stop()


def worker(fleet, api, pod, *flags, **more):
    m = fleet.mocker(*flags, env=api.env(pod), **more)
    api.registered(pod, "endpoints", "model_cards", "event_channels", "event_sources")
    return m


def fleet_of(fleet, api, n=2):
    """So many workers that are ready, and a frontend that knows them."""
    mockers = [worker(fleet, api, f"w{i}") for i in range(n)]
    api.slice("workers", *((f"w{i}", True) for i in range(n)))
    return fleet.frontend("--router-mode", "kv").ready(workers=n), mockers


def ids(mockers):
    return {m.ids[0] for m in mockers}


def test_who_is_ready_is_routed(fleet, api):
    front, mockers = fleet_of(fleet, api)
    assert workers(front) == ids(mockers)
    assert all(front.chat(f"request {i}").status == 200 for i in range(10))
    front.chat("x" * 400)
    until("the caches to be known", lambda: knows(front, mockers))
    assert front.chat("x" * 400).json()["usage"]["prompt_tokens_details"]["cached_tokens"] > 200
    assert front.metric("weir_kube_workers") == 2 and front.metric("weir_kube_connected") == 1
    # Not ready: gone for the frontend, though it has registered and runs.
    api.slice("workers", ("w0", False), ("w1", True))
    until("one worker", lambda: workers(front) == ids(mockers[1:]))
    assert all(front.chat(f"again {i}").status == 200 for i in range(5))
    api.slice("workers", ("w0", True), ("w1", True))
    until("both", lambda: workers(front) == ids(mockers))
    # A service that loses its labels, as one that goes.
    api.put("endpointslices", {**api.objects["endpointslices"]["workers"], "metadata": {"name": "workers", "labels": {}}})
    until("no worker", lambda: not workers(front))
    api.slice("workers", ("w0", True), ("w1", True))
    until("both", lambda: workers(front) == ids(mockers))
    # One that has nothing but bookmarks to read goes on from them.
    api.bookmark()
    api.end_watches()
    api.wait_call("watch", "endpointslices", 2)
    api.delete("endpointslices", "workers")
    until("the model to go", lambda: front.get("/v1/models").json()["data"] == [])
    assert api.count("list", "endpointslices") == 1


def test_pods_that_go(fleet, api):
    front, mockers = fleet_of(fleet, api)
    # The pod was deleted: Kubernetes collects its CR, and the slice forgets it.
    mockers[0].kill()
    api.delete("dynamoworkermetadatas", "w0")
    until("one worker", lambda: workers(front) == ids(mockers[1:]))
    api.slice("workers", ("w1", True))
    # A namesake with another uid: neither its readiness nor the CR of the one that died counts for the other.
    api.slice("workers", ("w1", True, "another"))
    until("no worker", lambda: front.get("/v1/models").json()["data"] == [])
    api.slice("workers", ("w1", True))
    front.ready(workers=1)
    # Two pods of one name at one time: nobody knows which.
    api.slice("more", ("w1", True, "another"))
    until("no worker", lambda: front.get("/v1/models").json()["data"] == [])
    api.delete("endpointslices", "more")
    front.ready(workers=1)
    # In two slices, as while they are split: it is there until both have left it.
    api.slice("more", ("w1", True))
    api.slice("workers", ("other", True))
    until("the second slice to be read", lambda: front.metric("weir_kube_ready") == 2)
    assert workers(front) == ids(mockers[1:]) and front.chat("hello").status == 200


def test_what_breaks_on_the_way_loses_nothing(fleet, api):
    front, mockers = fleet_of(fleet, api)
    load = Load(front)
    for n in range(3):  # connections that break
        started = front.metric("weir_kube_watches_total")
        until("the watches to come", lambda: api.began >= started)  # one that waits for its connection would not be cut
        api.cut()
        until("new watches", lambda: front.metric("weir_kube_watches_total") >= started + 2)
        load.more(5)
    api.stop()
    front.wait_line("what is known stays in use")
    until("the metric to say so", lambda: front.metric("weir_kube_connected") == 0)
    load.more(20)
    at = len(front.lines)
    api.start()
    front.wait_line("connected to the API server", at)
    load.more(20)
    # What the watches should have gone on from is gone.
    lists = api.count("list", "endpointslices")
    api.stop()
    api.compact()
    api.start()
    api.wait_call("list", "endpointslices", lists + 1)
    load.more(20)
    load.end()
    assert workers(front) == ids(mockers)
    assert front.metric("weir_kube_failures_total") > 0


def test_changes_while_the_server_was_away(fleet, api):
    front, mockers = fleet_of(fleet, api)
    api.stop()
    front.wait_line("what is known stays in use")
    api.slice("workers", ("w1", True))
    api.compact()
    api.start()
    until("one worker", lambda: workers(front) == ids(mockers[1:]))


def test_tokens_rotate(fleet, api):
    front, mockers = fleet_of(fleet, api)
    at = len(front.lines)
    api.rotate()
    api.end_watches()
    front.wait_line("reading it again", at)
    api.slice("workers", ("w1", True))
    until("one worker", lambda: workers(front) == ids(mockers[1:]))
    assert mockers[0].stop() == 0
    assert not api.records("w0")["endpoints"]


def test_pages_and_what_the_server_refuses_for_a_while(fleet, api):
    api.page = 1
    mockers = [worker(fleet, api, f"w{i}") for i in range(3)]
    for i in range(3):
        api.slice(f"s{i}", (f"w{i}", True))
    api.put("endpointslices", {"metadata": {"name": "unlabelled", "labels": {}}, "endpoints": []})
    api.fail("list", "endpointslices", 429, retry_after=1)
    api.fail("list", "dynamoworkermetadatas", 503)
    api.fail("watch", "endpointslices", 500, times=2)
    front = fleet.frontend().ready(workers=3)
    assert workers(front) == ids(mockers)
    lists = [q for v, p, q in api.calls if (v, p) == ("list", "endpointslices")]
    assert sum("continue" in q for q in lists) == 2 and all(q["limit"] == "500" for q in lists), lists
    assert {q["labelSelector"] for q in lists} == {"nvidia.com/dynamo-discovery-enabled=true"}
    front.wait_line("HTTP 429")
    # Between two pages the snapshot is lost: from the start.
    until("the watches", lambda: api.watches["endpointslices"] == 1)
    n = api.count("list", "endpointslices")
    api.fail("list", "endpointslices", 410)
    api.compact()
    api.end_watches()
    api.wait_call("list", "endpointslices", n + 4)
    api.delete("endpointslices", "s0")
    until("two workers", lambda: workers(front) == ids(mockers[1:]))


def test_a_server_that_is_starting(fleet, api):
    """It refuses for a moment what it will allow. (Failed before: the frontend ended.)"""
    for verb, plural, code in (("list", "endpointslices", 404), ("list", "endpointslices", 403), ("list", "dynamoworkermetadatas", 404),
                               ("watch", "dynamoworkermetadatas", 403), ("patch", "dynamoworkermetadatas", 401)):
        api.fail(verb, plural, code, times=2)
    front, _ = fleet_of(fleet, api, 1)
    assert front.chat("hello").status == 200
    until("all of it to be refused", lambda: not api.faults)
    until("the watch", lambda: api.watches["dynamoworkermetadatas"])


@pytest.mark.parametrize("code", [410, 500])
def test_watches_that_say_nothing_but_errors(fleet, api, code):
    """Each ends a watch, and so another list is due; it is asked less and less, as client-go does. (It was asked at once, or after
    a tenth of a second, each time.)"""
    front, _ = fleet_of(fleet, api, 1)
    at = len(api.calls)
    api.error_event = code
    api.end_watches()

    def lists():
        with api.more:
            return [t for (verb, plural, _), t in zip(api.calls[at:], api.called[at:]) if (verb, plural) == ("list", "endpointslices")]
    t = until("seven lists", lambda: len(lists()) >= 7 and lists())
    assert t[6] - t[0] > 3, t  # the least pauses of 0.1 s and more, each twice the one before: no machine is too slow for that
    api.error_event = None
    api.slice("workers", ("w0", False))
    until("the change", lambda: front.get("/v1/models").json()["data"] == [])


@pytest.mark.parametrize("code", [400, 404, 504])
def test_versions_that_cannot_be_watched_from(fleet, api, code):
    """A server that was restored from a copy, or that another one stands for, need not say 410: it is listed anew, as by client-go.
    (The watch was tried again and again, and nothing was seen any more.)"""
    front, mockers = fleet_of(fleet, api)
    with api.more:
        api.version += 1000
        api.no_watch = (code, api.version)
    api.end_watches()
    api.slice("workers", ("w1", True))
    until("one worker", lambda: workers(front) == ids(mockers[1:]))
    until("a watch", lambda: api.watches["endpointslices"])


def test_old_servers(fleet, api):
    api.versions = ("v1beta1",)
    front, _ = fleet_of(fleet, api, 1)
    assert front.chat("hello").status == 200


def test_what_is_broken_is_left_out_alone(fleet, api):
    front, mockers = fleet_of(fleet, api)
    api.put("dynamoworkermetadatas", {"metadata": {"name": "odd"}, "spec": {"data": [1]}})
    front.wait_line("of the dynamoworkermetadatas odd is left out")
    # An apply of empty maps may leave null: the records that were stay.
    cr = api.objects["dynamoworkermetadatas"]["w0"]
    api.put("dynamoworkermetadatas", {**cr, "spec": {"data": None}})
    api.put("dynamoworkermetadatas", {**cr, "spec": {"data": {**cr["spec"]["data"], "event_sources": None}}})
    api.put("endpointslices", {"metadata": {"name": "odd", "labels": api.objects["endpointslices"]["workers"]["metadata"]["labels"]},
                               "endpoints": 5})
    front.wait_line("of the endpointslices odd is left out")
    assert workers(front) == ids(mockers)
    # Deeper than we read: neither the event nor, in a new frontend, the list is lost with it.
    deep = None
    for _ in range(300):
        deep = [deep]
    api.put("dynamoworkermetadatas", {"metadata": {"name": "deep"}, "spec": {"data": deep}})
    front.wait_line("of the dynamoworkermetadatas deep is left out")
    assert workers(fleet.frontend().ready(workers=2)) == ids(mockers)


def test_what_stands_there(fleet, api):
    m = worker(fleet, api, "w0")
    cr = api.objects["dynamoworkermetadatas"]["w0"]
    assert cr["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": "w0", "uid": "uid-of-w0",
                                                  "controller": True, "blockOwnerDeletion": False}]
    assert cr["metadata"]["managedFields"][0]["manager"] == "dynamo-worker"
    data = cr["spec"]["data"]
    path = f"dynamo/backend/generate/{m.ids[0]:x}"
    assert m.ids[0] < 1 << 53 and data["endpoints"][path]["instance_id"] == m.ids[0]
    assert data["model_cards"][path]["card_json"]["display_name"] == "m"
    for key, channel in data["event_channels"].items():
        # Beside the scope, for readers up to Dynamo 1.3.
        assert key.startswith("namespace/dynamo/component/backend/") and channel["scope"]["kind"] == "endpoint"
        assert channel["namespace"] == "dynamo" and channel["component"] == "backend"
    assert set(data) == {"endpoints", "model_cards", "event_channels", "event_sources"}
    # A restart in the same pod has the same id, and takes the object over.
    m.kill()
    again = fleet.mocker(env=api.env("w0"))
    assert again.ids == m.ids
    until("its records", lambda: api.records("w0")["endpoints"][path]["transport"] != data["endpoints"][path]["transport"])
    api.fail("patch", "dynamoworkermetadatas", 503, times=2)
    assert again.stop() == 0
    left = api.records("w0")
    assert left is not None and not any(left.values()), left


def test_routers_register_too(fleet, api):
    worker(fleet, api, "w0")
    api.slice("workers", ("w0", True))
    router = Process([WEIR, "router", "--endpoint", "dynamo.backend.generate"], {**fleet.env, **api.env("r0")})
    fleet.processes.append(router)
    names = {key.split("/")[1] for key in api.registered("r0", "endpoints")["endpoints"]}
    assert names == {"router"}, names
    # Somebody deletes its object.
    until("its watch", lambda: api.watches["dynamoworkermetadatas"])
    before = api.records("r0")
    api.delete("dynamoworkermetadatas", "r0")
    assert api.registered("r0", "endpoints") == before
    assert router.stop() == 0 and not any(api.records("r0").values())


def test_an_object_that_is_deleted_again_and_again(fleet, api):
    """As the garbage collector does where POD_UID names no pod: it is written less and less often. (It was written each time at once.)"""
    worker(fleet, api, "w0")
    api.slice("workers", ("w0", True))
    router = Process([WEIR, "router", "--endpoint", "dynamo.backend.generate"], {**fleet.env, **api.env("r0")})
    fleet.processes.append(router)
    api.registered("r0", "endpoints")
    until("its watch", lambda: api.watches["dynamoworkermetadatas"])
    at = len(api.calls)
    api.collects = True
    api.delete("dynamoworkermetadatas", "r0")

    def writes():
        with api.more:
            return [t for (verb, _, _), t in zip(api.calls[at:], api.called[at:]) if verb == "patch"]
    t = until("eight writes", lambda: len(writes()) >= 8 and writes())
    assert t[7] - t[0] > 3, t  # as above
    router.wait_line("is POD_UID that of this pod")
    api.collects = False
    api.registered("r0", "endpoints")


def test_writing_goes_on_when_the_server_is_back(fleet, api):
    api.stop()
    m = fleet.mocker(env=api.env("w0"))
    m.wait_line("trying again")
    api.start()
    api.registered("w0", "endpoints", "model_cards", "event_channels", "event_sources")


def test_containers(fleet, api):
    """Each container of a pod for itself; the one called main has the pod's own name."""
    env = {**api.env("p"), "DYN_KUBE_DISCOVERY_MODE": "container"}
    mockers = [fleet.mocker(env={**env, "CONTAINER_NAME": name}) for name in ("main", "engine-1")]
    for cr in ("p", "p-engine-1"):
        api.registered(cr, "endpoints")
    assert [o["metadata"]["ownerReferences"][0]["controller"] for _, o in sorted(api.objects["dynamoworkermetadatas"].items())] == \
        [True, False]

    def pod(main, engine):
        api.put("pods", {"metadata": {"name": "p", "uid": "uid-of-p", "labels": {"nvidia.com/dynamo-discovery-enabled": "true"}},
                         "status": {"containerStatuses": [{"name": "main", "ready": main}, {"name": "engine-1", "ready": engine}]}})
    pod(True, True)
    front = fleet.frontend(env={"DYN_KUBE_DISCOVERY_MODE": "container"}).ready(workers=2)
    assert workers(front) == ids(mockers)
    # One that is deleted: its node may be dead, so that nobody says any more what its containers are.
    p = api.objects["pods"]["p"]
    api.put("pods", {**p, "metadata": {**p["metadata"], "deletionTimestamp": "2026-11-27T00:00:00Z"}})
    until("no worker", lambda: front.get("/v1/models").json()["data"] == [])
    pod(True, False)
    until("one worker", lambda: workers(front) == ids(mockers[:1]))


# ---- deploy/kubernetes ---------------------------------------------------------------------------

DEPLOY = os.path.join(os.path.dirname(__file__), "../../deploy/kubernetes")
# What Dynamo's operator sets in pods of both kinds.
OPERATOR = {"DYN_NAMESPACE": "dynamo", "DYN_PARENT_DGD_K8S_NAME": "agg", "DYN_PARENT_DGD_K8S_NAMESPACE": "models"}
OPERATOR_FRONTEND = {**OPERATOR, "DYN_COMPONENT": "frontend", "DYNAMO_PORT": "8000", "DYN_NAMESPACE_PREFIX": "dynamo",
                     "DYN_NAMESPACE_PREFIX_STRICT": "true"}
OPERATOR_WORKER = {**OPERATOR, "DYN_COMPONENT": "worker", "DYN_SYSTEM_ENABLED": "true",
                   "DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS": '["generate"]', "DYN_HEALTH_CHECK_ENABLED": "false",
                   "NIXL_TELEMETRY_ENABLE": "n", "NIXL_TELEMETRY_EXPORTER": "prometheus", "NIXL_TELEMETRY_PROMETHEUS_PORT": "19090"}


@pytest.fixture(scope="module")
def manifests():
    """{(kind, name): object}"""
    yaml = pytest.importorskip("yaml", reason="no PyYAML (Debian package python3-yaml)")
    found = {}
    for path in sorted(glob.glob(DEPLOY + "/*.yaml")):
        with open(path, encoding="utf-8") as f:
            for doc in yaml.safe_load_all(f):
                assert (doc["kind"], doc["metadata"]["name"]) not in found
                found[doc["kind"], doc["metadata"]["name"]] = doc
    return found


def pod_of(manifests, name):
    spec = manifests["Deployment", name]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    return labels, spec["template"]["spec"]


def container_of(manifests, name, api, pod):
    """Arguments and environment of its container, as the kubelet would give them to this pod. No port is fixed here."""
    container, = pod_of(manifests, name)[1]["containers"]
    fields = {"metadata.name": pod, "metadata.uid": "uid-of-" + pod, "metadata.namespace": api.namespace}
    env = {e["name"]: e.get("value", fields.get(e.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath"))) for e in container["env"]}
    assert None not in env.values(), env
    ports = {"DYN_HTTP_PORT": "0", "DYN_SYSTEM_PORT": "0", "DYN_SYSTEM_HOST": "127.0.0.1"}
    return container["args"], {**env, **{k: v for k, v in ports.items() if k in env or k == "DYN_SYSTEM_HOST"}}


def test_the_example_has_the_least_rights(fleet, api, manifests):
    role = manifests["Role", "weir-discovery"]
    binding = manifests["RoleBinding", "weir-discovery"]
    account = manifests["ServiceAccount", "weir"]["metadata"]["name"]
    assert binding["roleRef"]["kind"] == "Role" and binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [(s["kind"], s["name"]) for s in binding["subjects"]] == [("ServiceAccount", account)]
    for name in ("weir-frontend", "weir-mocker"):
        labels, spec = pod_of(manifests, name)
        service = manifests["Service", name]
        # Requests are taken for some seconds after the pod's deletion has begun: senders hear of that at the same time, and not at once.
        # (The frontend's example had no pause: each rolling update refused some.)
        container, = spec["containers"]
        env = {e["name"]: e.get("value") for e in container["env"]}
        if name == "weir-frontend":
            wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            running = int(env["DYN_RUNTIME_GRACEFUL_SHUTDOWN_TIMEOUT_SECS"])
        else:
            wait, running = 5, 30  # what its options say when nothing is set
        assert 0 < wait and wait + running < spec["terminationGracePeriodSeconds"]
        assert spec["serviceAccountName"] == account and service["spec"]["selector"].items() <= labels.items()
        assert service["metadata"]["labels"] == LABELS
    api.rules = role["rules"]
    crd = manifests["CustomResourceDefinition", "dynamoworkermetadatas.nvidia.com"]["spec"]
    group, versions, kind = KINDS["dynamoworkermetadatas"]
    assert (crd["group"], [v["name"] for v in crd["versions"]], crd["names"]["kind"], crd["names"]["plural"]) == \
        (group, versions, kind, "dynamoworkermetadatas")

    args, env = container_of(manifests, "weir-mocker", api, "w0")
    worker_process = Process([WEIR, *args, "--speedup-ratio", "0"], {**fleet.env, **OPERATOR_WORKER, **env}, "mocker")
    fleet.processes.append(worker_process)
    args, env = container_of(manifests, "weir-frontend", api, "f0")
    # Both verbs of writing too, as for --router-replica-sync.
    front = fleet.frontend(*args[1:], "--router-replica-sync", env={**OPERATOR_FRONTEND, **env})
    api.registered("w0", "endpoints", "model_cards", "event_channels", "event_sources")
    api.slice("weir-mocker", ("w0", True))
    api.slice("weir-frontend", ("f0", True))
    front.ready("demo")
    api.registered("f0", "event_channels")
    assert front.chat("hello", model="demo").status == 200
    until("all kinds to be watched", lambda: all(api.watches[p] for p in ("endpointslices", "dynamoworkermetadatas")))
    # No right is there that nobody uses.
    used = {(v, p) for v, p, _ in api.calls} | {("create", p) for v, p, _ in api.calls if v == "patch"}
    assert used == {(v, p) for rule in role["rules"] for p in rule["resources"] for v in rule["verbs"]}
    # The probes.
    port = int(worker_process.wait_line(r"status server on \S+ port (\d+)").group(1))
    for name, at in (("weir-frontend", front.port), ("weir-mocker", port)):
        container, = pod_of(manifests, name)[1]["containers"]
        for probe in ("livenessProbe", "readinessProbe"):
            with urllib.request.urlopen(f"http://127.0.0.1:{at}{container[probe]['httpGet']['path']}", timeout=60) as r:
                assert r.status == 200, (name, probe)
            assert container[probe]["httpGet"]["port"] in [p["name"] for p in container["ports"]]


# ---- what is refused -----------------------------------------------------------------------------


def fails(env, *command):
    p = Process([WEIR, *command], env)
    assert p.child.wait(timeout=60) is not None
    p.reader.join()
    return p.child.returncode, p.log()


def test_what_is_refused_at_the_start(fleet, api, tmp_path):
    front = ("frontend", "--http-port", "0", "--http-host", "127.0.0.1")
    mocker = ("mocker", "--model-name", "m")
    reads = [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
             {"apiGroups": ["nvidia.com"], "resources": ["dynamoworkermetadatas"], "verbs": ["list", "watch"]}]

    def without(verb, resource):
        api.rules = [{**r, "verbs": [v for v in r["verbs"] if (v, r["resources"]) != (verb, [resource])]} for r in reads]

    for verb in ("list", "watch"):
        for rule in reads:
            without(verb, rule["resources"][0])
            code, log = fails(fleet.env, *front)
            name = f"{rule['resources'][0]}.{rule['apiGroups'][0]}"
            assert code == 1 and f"may not {verb} {name}" in log and f"needs the verb {verb}" in log, log
    api.rules = reads
    code, log = fails({**fleet.env, **api.env("w0")}, *mocker)
    assert code == 1 and "may not patch dynamoworkermetadatas.nvidia.com" in log, log
    api.rules = [{"apiGroups": ["nvidia.com"], "resources": ["dynamoworkermetadatas"], "verbs": ["patch"]}]
    code, log = fails({**fleet.env, **api.env("w0")}, *mocker)
    assert code == 1 and "needs the verb patch, and create" in log, log
    # Who it is.
    code, log = fails(fleet.env, *mocker)
    assert code == 1 and "set POD_NAME and POD_UID" in log, log
    code, log = fails({**fleet.env, "POD_NAME": "w0"}, *mocker)
    assert code == 1 and "set POD_UID" in log, log
    code, log = fails({**fleet.env, **api.env("w0"), "DYN_KUBE_DISCOVERY_MODE": "container", "CONTAINER_NAME": ""}, *mocker)
    assert code == 1 and "CONTAINER_NAME" in log, log
    code, log = fails({**fleet.env, **api.env("w0")}, *mocker, "--num-workers", "2")
    assert code == 1 and "a pod is one worker" in log, log
    # A token that nobody knows, a server that nobody vouches for, no server at all.
    api.write("account/token", "forged")
    code, log = fails(fleet.env, *front)
    assert code == 1 and "the token is refused" in log, log
    os.remove(api.account + "/ca.crt")
    code, log = fails(fleet.env, *front)
    assert code == 1 and "ca.crt" in log, log
    api.write("account/ca.crt", open(api.folder + "/server.pem", encoding="ascii").read())
    code, log = fails(fleet.env, *front)
    assert code == 1 and "TLS" in log and "certificate" in log, log
    code, log = fails({**fleet.env, "KUBERNETES_SERVICE_HOST": "", "HOME": str(tmp_path)}, *front)
    assert code == 1 and "there is neither KUBECONFIG nor ~/.kube/config" in log, log


def test_kubeconfig(fleet, api, tmp_path):
    fleet.env.update(KUBECONFIG=api.folder + "/kubeconfig", WEIR_KUBE_SERVICE_ACCOUNT_DIR="/nowhere")
    m = fleet.mocker(env={"POD_NAME": "w0", "POD_UID": "u0"})
    api.registered("w0", "endpoints")  # in the context's namespace
    api.slice("workers", ("w0", True, "u0"))
    front = fleet.frontend().ready()
    assert front.chat("hello").status == 200 and workers(front) == ids([m])

    def with_config(change):
        doc = api.kubeconfig(next(iter(api.tokens)))
        change(doc)
        path = tmp_path / "other"
        path.write_text(json.dumps(doc))
        return fails({**fleet.env, "KUBECONFIG": str(path)}, "frontend", "--http-port", "0", "--http-host", "127.0.0.1")

    def user(**fields):
        return lambda doc: doc["users"][0].update(user=fields)

    # With a client certificate in place of a token.
    doc = api.kubeconfig(None, **{"client-certificate": api.folder + "/client.pem",
                                  "client-key-data": b64(open(api.folder + "/client.key", encoding="ascii").read())})
    (tmp_path / "certificates").write_text(json.dumps(doc))
    assert fleet.frontend(env={"KUBECONFIG": str(tmp_path / "certificates")}).ready().chat("hello").status == 200

    code, log = with_config(user(exec={"command": "aws"}))
    assert code == 1 and "user: exec is not supported by this build" in log, log
    code, log = with_config(user(username="a", password="b"))
    assert code == 1 and "user: username is not supported" in log, log
    code, log = with_config(lambda doc: doc["clusters"][0]["cluster"].update({"proxy-url": "http://p"}))
    assert code == 1 and "cluster: proxy-url is not supported" in log, log
    code, log = with_config(lambda doc: doc.update({"current-context": "nowhere"}))
    assert code == 1 and 'contexts has none called "nowhere"' in log, log
    code, log = with_config(lambda doc: doc["clusters"][0]["cluster"].update(server="127.0.0.1"))
    assert code == 1 and "neither https:// nor http://" in log, log
    code, log = with_config(lambda doc: doc["clusters"][0]["cluster"].update({"certificate-authority-data": "?"}))
    assert code == 1 and "certificate-authority-data is not base64" in log, log
    code, log = fails({**fleet.env, "KUBECONFIG": "/a:/b"}, "frontend", "--http-port", "0")
    assert code == 1 and "more than one file" in log, log
