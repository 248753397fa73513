"""Several routers before the same workers: each counts what the others have sent, and forgets it when they go."""
import glob
import http.client
import json
import os
import threading
import urllib.parse

from weir import until

TEXT = "the quick brown fox jumps over the lazy dog. " * 30
GAUGES = ("worker_active_decode_blocks", "worker_active_prefill_tokens")


class Running(threading.Thread):
    """A stream that is read until its end, whatever that is."""

    def __init__(self, front, text):
        super().__init__(daemon=True)
        self.connection = front.connect()
        self.body = json.dumps({"model": "m", "max_tokens": 100000, "ignore_eos": True, "stream": True,
                                "messages": [{"role": "user", "content": text}]})
        self.start()

    def run(self):
        try:
            self.connection.request("POST", "/v1/chat/completions", self.body, {"content-type": "application/json"})
            self.connection.getresponse().read()
        except (OSError, ValueError, http.client.HTTPException):
            pass  # left in the middle of a chunk

    def leave(self):
        self.connection.sock.shutdown(2)
        self.join()


def load(front):
    """What the router books on each worker, by gauge and worker."""
    series = front.metrics()
    return {k: v for k, v in series.items() if any(g in k for g in GAUGES) and v > 0}


def pair(fleet, *flags):
    # One step a second: a stream goes on until it is left.
    fleet.mocker("--speedup-ratio", "1", "--decode-base-ms", "1000", "--num-gpu-blocks-override", "100000", workers=3)
    return [fleet.frontend("--router-mode", "kv", *flags).ready(workers=3) for _ in range(2)]


def test_replicas_book_each_others_requests(fleet):
    one, two = pair(fleet, "--router-replica-sync")
    until("each to hear of the other", lambda: heard_of(fleet) == 2)
    streams = [Running(front, f"{i} of {front.port} " + TEXT) for i in range(6) for front in (one, two)]

    def agreed():
        a, b = load(one), load(two)
        return a if a and a == b and sum(v for k, v in a.items() if "decode_blocks" in k) > 12 * 80 else None
    until("both to count twelve requests", agreed)
    # Who leaves is forgotten by both.
    for s in streams[::2]:
        s.leave()

    def half():
        a, b = load(one), load(two)
        return a == b and 0 < sum(v for k, v in a.items() if "decode_blocks" in k) < 7 * 100
    until("both to count six requests", half)
    # One is killed with requests running: when its channel expires they no longer count.
    two.kill()
    until("the other to count nothing", lambda: not load(one))
    # A new one hears of what begins from now on.
    again = fleet.frontend("--router-mode", "kv", "--router-replica-sync").ready(workers=3)
    until("the new one to be heard", lambda: heard_of(fleet) >= 2)
    s = Running(one, TEXT)
    until("both to count it", lambda: load(one) and load(one) == load(again))
    s.leave()
    until("both to count nothing", lambda: not load(one) and not load(again))


def heard_of(fleet):
    """Channels of routers that discovery shows."""
    paths = glob.glob(os.path.join(fleet.env["DYN_FILE_KV"], "**"), recursive=True)
    return len([p for p in paths if "active_sequences_events" in urllib.parse.unquote(p)])


def test_without_the_flag_routers_do_not_talk(fleet):
    one, two = pair(fleet)
    s = Running(one, TEXT)
    until("its own load", lambda: load(one))
    assert not load(two) and heard_of(fleet) == 0
    s.leave()
    until("no load", lambda: not load(one))
