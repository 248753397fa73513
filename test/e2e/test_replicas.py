"""Several routers before the same workers: each counts what the others have sent, and forgets it when they go."""
import glob
import http.client
import json
import os
import random
import threading
import urllib.parse

from weir import Fleet, knows, until

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
    one = fleet.frontend("--router-mode", "kv", *flags).ready(workers=3)
    if flags:
        until("its channel", lambda: channels(fleet))
    fleet.first = channels(fleet)
    return one, fleet.frontend("--router-mode", "kv", *flags).ready(workers=3)


def channels(fleet):
    """Of routers, that discovery shows."""
    paths = glob.glob(os.path.join(fleet.env["DYN_FILE_KV"], "**"), recursive=True)
    return {p for p in paths if "active_sequences_events" in urllib.parse.unquote(p)}


def acquainted(*fronts):
    """Each hears the others: a channel that discovery shows is not one that is listened to yet, and what was told before
    that is not told again."""
    for teller in fronts:
        def counted():
            s = Running(teller, TEXT)
            try:
                until("all to count it", lambda: load(teller) and all(load(f) == load(teller) for f in fronts), 2)
                return True
            except AssertionError:
                return False
            finally:
                s.leave()
                until("nobody to count it", lambda: not any(load(f) for f in fronts))
        until("the others to hear of it", counted)


def test_replicas_book_each_others_requests(fleet):
    one, two = pair(fleet, "--router-replica-sync")
    until("each to hear of the other", lambda: len(channels(fleet)) == 2)
    acquainted(one, two)
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

    def told():
        sent, received, dropped = (one.metric(f"weir_router_replica_events_{n}_total") for n in ("sent", "received", "dropped"))
        return sent >= 6 and received >= 6 and dropped == 0
    until("the figures to say so", told)
    # One is killed with requests running: when its channel expires they no longer count.
    two.kill()
    channel, = channels(fleet) - fleet.first
    os.utime(channel, (0, 0))  # as old as it would be some seconds later
    until("the other to count nothing", lambda: not load(one))
    # A new one hears of what begins from now on.
    again = fleet.frontend("--router-mode", "kv", "--router-replica-sync").ready(workers=3)
    until("the new one to be heard", lambda: len(channels(fleet)) >= 2)
    acquainted(one, again)
    s = Running(one, TEXT)
    until("both to count it", lambda: load(one) and load(one) == load(again))
    s.leave()
    until("both to count nothing", lambda: not load(one) and not load(again))


def test_without_the_flag_routers_do_not_talk(fleet):
    one, two = pair(fleet)
    s = Running(one, TEXT)
    until("its own load", lambda: load(one))
    assert not load(two) and len(channels(fleet)) == 0
    s.leave()
    until("no load", lambda: not load(one))


def churn(fronts, n=60, rounds=3):
    """n streams, in turn by each of the frontends; in each round a half ends and as many begin. Always the same ones."""
    rng = random.Random(8)
    number, held = 0, []
    for _ in range(rounds + 1):
        for s in held[:]:
            if rng.random() < 0.5:
                s.close()
                held.remove(s)
        while len(held) < n:
            number += 1
            text = f"{number} " + "word " * rng.randint(50, 400)
            held.append(fronts[number % len(fronts)].hold(text, max_tokens=100000, ignore_eos=True))
    return held


def booked(front):
    """Blocks by worker, once every prompt has been read; None before that."""
    a = load(front)
    if any("prefill" in k for k in a):
        return None
    return {k: v for k, v in a.items() if "decode_blocks" in k}


def test_two_routers_book_what_one_books(fleet, tmp_path):
    """The same streams come, go and stay before one router and before two: what is booked in the end differs by at most
    2 %. (How even the workers' shares are is a matter of who ends and of how fast prompts are read: said nothing of here.)"""
    flags = ("--speedup-ratio", "1", "--decode-base-ms", "200", "--num-gpu-blocks-override", "100000", "--max-num-seqs", "1000")
    fleet.mocker(*flags, workers=3)
    two = [fleet.frontend("--router-mode", "kv", "--router-replica-sync").ready(workers=3) for _ in range(2)]
    until("each to hear of the other", lambda: len(channels(fleet)) == 2)
    alone, held = Fleet(tmp_path / "alone"), []
    (tmp_path / "alone").mkdir()
    try:
        alone.mocker(*flags, workers=3)
        one = alone.frontend("--router-mode", "kv").ready(workers=3)
        acquainted(*two)
        held += churn([one])
        held += churn(two)

        def all_counted():
            got = [booked(f) for f in (one, *two)]
            return got if all(got) and got[1] == got[2] and \
                abs(sum(got[1].values()) - sum(got[0].values())) <= 0.02 * sum(got[0].values()) else None
        want, here, _ = until("both to count what one counts", all_counted)
        assert len(here) == len(want) == 3 and sum(want.values()) > 60 * 15
        for s in held:
            s.close()
        until("nothing to be booked", lambda: not any(load(f) for f in (one, *two)))
    finally:
        for s in held:
            s.close()
        alone.close()


def test_a_router_that_was_killed_is_warm_again(fleet):
    """It asks the workers for their caches; its first prompt goes where it is held."""
    workers = fleet.mocker("--num-gpu-blocks-override", "100000", workers=3)
    flags = ("--router-mode", "kv", "--router-replica-sync")
    one, two = [fleet.frontend(*flags).ready(workers=3) for _ in range(2)]
    for i in range(60):
        assert two.chat(f"{i} {TEXT}", max_tokens=1).status == 200
    for front in (one, two):
        assert until("it to know the caches", lambda f=front: knows(f, [workers])) > 60 * 80
    two.kill()
    again = fleet.frontend(*flags).ready(workers=3)
    until("the new one to know as much", lambda: knows(again, [workers]))
    for i in range(60):
        head = again.chat(f"{i} {TEXT}", max_tokens=1, headers={"x-weir-explain": "1"}).headers["x-weir-explain"]
        assert json.loads(head)["candidates"][0]["device_blocks"] >= 80, head
