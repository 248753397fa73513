"""Everything at once, by a seed: workers that join, leave, die, hang and lie, clients of every kind, and what must hold all
the same. A stream ends once; nothing hangs; no token is lost, doubled or another request's; whoever leaves frees all.

WEIR_TEST_SEED repeats a run, WEIR_TEST_CHAOS_ROUNDS and WEIR_TEST_CHAOS_CLIENTS make it longer, WEIR_TEST_CHAOS_EPISODES takes
more set-ups.
"""
import asyncio
import os
import random

import pytest

from chaos_mockers import Mocked
from chaos_run import Chaos

SEED = int(os.environ.get("WEIR_TEST_SEED") or 20261128)
ROUNDS = int(os.environ.get("WEIR_TEST_CHAOS_ROUNDS", "1"))
CLIENTS = int(os.environ.get("WEIR_TEST_CHAOS_CLIENTS", "100"))
EPISODES = int(os.environ.get("WEIR_TEST_CHAOS_EPISODES", "1"))
KINDS = {"aggregated": {}, "split": {"split": True}, "engines": {"engines": True}, "mockers": {}}


@pytest.mark.parametrize("episode", range(EPISODES))
@pytest.mark.parametrize("kind", KINDS)
def test_chaos(fleet, kind, episode):
    seed = SEED + 1000 * episode
    print(f"{kind}: WEIR_TEST_SEED={seed}")
    chaos = (Mocked if kind == "mockers" else Chaos)(fleet, random.Random(f"{seed} {kind}"), **KINDS[kind])
    asyncio.run(chaos.run(seed, ROUNDS, CLIENTS))
    assert chaos.front.wait() == 0
