"""Durable KV events with a Dynamo that had them (1.2.1) on the other side of the stream and of the snapshot.

Runs with WEIR_INTEROP=1, as interop_dynamo.py, and needs nats-server. Hits are what mockers counted, or their absence.
"""
import os

os.environ.setdefault("DYNAMO_VERSION", "1.2.1")  # before the next import reads it

import pytest  # noqa: E402

from interop_dynamo import (BLOCK, TEXT, Http, dynamo, dynamo_env, files, model, pytestmark, theirs)  # noqa: E402, F401
from test_durable import STREAM, Jet  # noqa: E402
from nats_server import BINARY, WHY_NOT, NatsServer  # noqa: E402
from weir import Process, kept_port, knows, until  # noqa: E402

PROMPTS = [f"{i} {TEXT}" for i in range(8)]
PROBES = [f"probe {i} {TEXT}" for i in range(8)]
FLAGS = ("--router-mode", "kv", "--router-durable-kv-events")


@pytest.fixture
def nats(fleet):
    """A server with JetStream for both sides; set up before the fleet's processes, killed after them."""
    if BINARY is None:
        pytest.skip(WHY_NOT)
    server = NatsServer(fleet.folder, "-js", "-sd", os.path.join(fleet.folder, "jetstream"))
    fleet.env.update(NATS_SERVER=server.url, DYN_EVENT_PLANE="nats")
    yield server
    fleet.close()
    fleet.processes.clear()
    server.kill()


def dynamo_front(theirs, fleet, python, *flags):
    port = kept_port()
    theirs.append(Process([python, "-m", "dynamo.frontend", "--http-port", str(port), "--http-host", "127.0.0.1", *FLAGS, *flags],
                          dynamo_env(fleet), "dynamo.frontend"))
    return Http(port).serving()


def weir_mocker(fleet, model):
    return fleet.mocker("--durable-kv-events", "--model-path", model, "--block-size", str(BLOCK), workers=2)


def ask_all(api, prompts=PROMPTS):
    for p in prompts:
        assert api.chat(p)[0] == 200


def all_found(api, mocker, prompts=PROMPTS):
    """Every prompt once more: whether each was found where it went, but for its end."""
    before = mocker.metric("cached_tokens_total"), mocker.metric("prompt_tokens_total")
    ask_all(api, prompts)
    cached, prompt = mocker.metric("cached_tokens_total") - before[0], mocker.metric("prompt_tokens_total") - before[1]
    return cached >= prompt - len(prompts) * 2 * BLOCK


def test_dynamo_workers_behind_weir(fleet, nats, theirs, dynamo, model):
    """Its events are read, and after a restart our own snapshot of them: the same blocks are known."""
    theirs.append(Process([dynamo, "-m", "dynamo.mocker", "--model-path", model, "--model-name", "m", "--block-size", str(BLOCK),
                           "--num-workers", "2", "--speedup-ratio", "0", "--durable-kv-events"], dynamo_env(fleet), "dynamo.mocker"))
    front = fleet.frontend(*FLAGS, "--router-snapshot-threshold", "0", *files(model)).ready(workers=2)
    for p in PROMPTS:
        assert front.chat(p).status == 200

    def entries(f):
        return f.metric("weir_router_kv_index_entries")
    # Complete blocks of each prompt: what its own tokens say.
    tokens = front.chat(PROMPTS[0]).json()["usage"]["prompt_tokens"]
    until("every block", lambda: entries(front) >= len(PROMPTS) * (tokens // BLOCK))
    until("a purge", lambda: front.metric("weir_router_kv_stream_purges_total") > 0)
    until("nothing more to write", lambda: quiet(front))
    held = entries(front)
    assert front.stop() == 0
    again = fleet.frontend(*FLAGS, *files(model)).ready(workers=2)
    again.wait_line("a snapshot of .* events was read")
    until("the same blocks", lambda: entries(again) == held)


def test_weir_workers_behind_dynamo(fleet, nats, theirs, dynamo, model):
    """Dynamo's frontend routes by our events, and we read the snapshot that it writes."""
    mocker = weir_mocker(fleet, model)
    api = dynamo_front(theirs, fleet, dynamo, "--router-snapshot-threshold", "3")
    ask_all(api)
    until("Dynamo to know every prompt", lambda: all_found(api, mocker))
    theirs[-1].wait_line("Successfully uploaded snapshot")
    front = fleet.frontend(*FLAGS, "--model-path", model).ready(workers=2)
    front.wait_line("a snapshot of .* events was read")
    until("the whole index", lambda: knows(front, [mocker]))


def test_dynamo_reads_our_snapshot(fleet, nats, theirs, dynamo, model):
    """The stream is empty when it starts: what it knows is in the snapshot that we wrote."""
    mocker = weir_mocker(fleet, model)
    front = fleet.frontend(*FLAGS, "--router-snapshot-threshold", "0", "--model-path", model).ready(workers=2)
    ask_all(Http(front.port))
    until("the whole index", lambda: knows(front, [mocker]))
    until("a purge", lambda: front.metric("weir_router_kv_stream_purges_total") > 0)
    until("nothing more to write", lambda: quiet(front))
    assert front.stop() == 0
    api = dynamo_front(theirs, fleet, dynamo)
    theirs[-1].wait_line("Successfully sent all initial events to indexer")
    # Sent is not applied; what comes behind it in the indexer's queue is applied later.
    until("Dynamo to know prompts of its own", lambda: all_found(api, mocker, PROBES))
    assert all_found(api, mocker)


def test_routers_share_a_stream(fleet, nats, theirs, dynamo, model):
    """Neither takes the other's consumer for one that nobody has, each deletes that of a router which died. (Failed before:
    Dynamo deleted ours, and we left its.)"""
    jet = Jet.before(nats, fleet.folder)
    weir_mocker(fleet, model)
    front = fleet.frontend(*FLAGS, "--model-path", model).ready(workers=2)
    ours = until("our consumer", lambda: set(jet.stream()["consumers"])).pop()
    jet.py("consumer", STREAM, "12345")
    api = dynamo_front(theirs, fleet, dynamo)
    theirs[-1].wait_line("Cleaning up startup orphaned consumer: 12345")
    ask_all(api)
    their = until("both", lambda: set(jet.stream()["consumers"]) - {ours, "12345"}).pop()
    ask_all(Http(front.port))
    theirs[-1].kill()
    front.wait_line(f"the router of consumer {their} is gone: it is deleted")
    assert front.metric("weir_router_kv_stream_restarts_total") == 0
    dynamo_front(theirs, fleet, dynamo)
    until("both", lambda: len(jet.stream()["consumers"]) == 2)
    front.kill()
    theirs[-1].wait_line(f"Successfully deleted orphaned consumer: {ours}")


def quiet(front):
    """A whole look at the stream went by without a snapshot or a purge."""
    names = ("snapshots_written", "purges")
    before = [front.metric(f"weir_router_kv_stream_{n}_total") for n in names]
    looks = front.metric("weir_nats_received_total")
    until("three more looks", lambda: front.metric("weir_nats_received_total") >= looks + 3)
    return before == [front.metric(f"weir_router_kv_stream_{n}_total") for n in names]
