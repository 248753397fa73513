"""`nvext.agent_hints.speculative_prefill`: a chat that has been answered is sent to a worker once more, with its answer and for one
token, so that its next turn finds it cached. As a live Dynamo 1.6.1 does (interop_dynamo.py): the text of the answer, no opening of
another message, `max_tokens` 1. (Dynamo leaves the tools out, so what it sends is the beginning of no turn that has some.)
"""
import json

import pytest

from plane_worker import PlaneWorker
from weir import Fleet, sse, until

AHEAD = {"agent_hints": {"speculative_prefill": True}}
ASKED = [{"role": "user", "content": "How high is Everest?"}]
SAID = "It is \"8849 m\".\n"
STOP = {"token_ids": [], "finish_reason": "stop"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def pair(tmp_path):
    fleet = Fleet(tmp_path)
    worker = PlaneWorker(fleet)
    # A worker that failed is not avoided for the usual 5 seconds.
    front = fleet.frontend("--router-mode", "kv", env={"DYN_RUNTIME_INHIBITED_DURATION_SECS": "0.2"}).ready()
    yield front, worker
    fleet.close()
    worker.close()


def ask(pair, items=None, nvext=AHEAD, **fields):
    if items is None:
        items = [{"token_ids": list(SAID[:4].encode())}, {"token_ids": list(SAID[4:].encode())}, STOP]
    body = {"messages": ASKED, "nvext": {**nvext, "annotations": ["script:" + json.dumps(items)]}, **fields}
    r = pair[0].chat(**body)
    assert r.status == 200, r
    return r


def ended(front, result="done"):
    return front.metric("weir_frontend_speculative_prefills_total", result=result) or 0


def all_sent(pair, n, result="done"):
    """What the worker got, once n were sent ahead with this result."""
    until(f"{n} turns sent ahead", lambda: ended(pair[0], result) == n)
    return [request for _, request in pair[1].requests]


@pytest.mark.parametrize("stream", [False, True])
def test_the_next_turn_begins_with_what_was_sent_ahead(pair, stream):
    front = pair[0]
    r = ask(pair, stream=stream, tools=[TOOL])
    text = ("".join(e["choices"][0]["delta"].get("content") or "" for e in sse(r.body)[:-1]) if stream
            else r.json()["choices"][0]["message"]["content"])
    assert text == SAID
    first, ahead = all_sent(pair, 1)
    turns = ASKED + [{"role": "assistant", "content": SAID}]
    whole = front.ask("POST", "/tokenize", {"model": "m", "messages": turns, "add_generation_prompt": False, "tools": [TOOL]}).json()
    assert ahead["token_ids"] == whole["tokens"] and len(whole["tokens"]) > len(first["token_ids"])
    assert ahead["stop_conditions"]["max_tokens"] == 1
    ask(pair, nvext={}, messages=turns + [{"role": "user", "content": "And K2?"}], tools=[TOOL])
    turn = pair[1].last()[1]["token_ids"]
    assert turn[:len(ahead["token_ids"])] == ahead["token_ids"]


def test_its_blocks_have_the_names_of_the_conversation(pair):
    ask(pair, cache_salt="tenant", chat_template_kwargs={"a": 1})
    first, ahead = all_sent(pair, 1)
    assert first["routing"]["cache_salt"] == ahead["routing"]["cache_salt"] == "tenant"
    assert ahead["extra_args"]["nvext"]["cache_salt"] == "tenant"


def test_only_what_is_asked_for_and_can_be_continued(pair):
    """None of these brings a second request; the last one does, and comes behind whatever they would have brought."""
    call = [{"token_ids": list(b"{}")}, STOP]
    ask(pair, nvext={})
    ask(pair, nvext={"agent_hints": {"speculative_prefill": False}})
    ask(pair, n=2, items=[{"token_ids": [65], "index": i, "finish_reason": "stop"} for i in range(2)])
    ask(pair, call, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "f"}})
    ask(pair, messages=ASKED + [{"role": "assistant", "content": "It"}], continue_final_message=True, add_generation_prompt=False)
    ask(pair)
    assert len(all_sent(pair, 1)) == 7


def test_clients_requests_are_counted_alone(pair):
    front = pair[0]
    ask(pair)
    all_sent(pair, 1)
    front.counted()
    assert front.metric("dynamo_frontend_requests_total") == 1
    assert front.metric("dynamo_frontend_output_sequence_tokens_sum") == len(SAID)


def test_a_worker_that_fails_it_hurts_nobody(pair):
    front, worker = pair
    worker.drops_ahead = "hangs up"
    assert ask(pair).json()["choices"][0]["finish_reason"] == "stop"
    all_sent(pair, 1, "failed")
    worker.drops_ahead = None
    until("the worker to be trusted again", lambda: front.chat().status == 200)
    ask(pair)
    all_sent(pair, 1)


def test_a_frontend_that_stops_does_not_wait_for_it(pair):
    front, worker = pair
    worker.drops_ahead = "never calls"
    ask(pair)
    until("the next turn", lambda: len(worker.requests) == 2)
    assert front.stop() == 0
