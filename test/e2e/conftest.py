import os
import re
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from weir import Fleet, Process  # noqa: E402


@pytest.fixture
def fleet(tmp_path):
    f = Fleet(tmp_path)
    yield f
    f.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A KV-routing frontend and two instant workers of model m, for tests that leave no trace."""
    f = Fleet(tmp_path_factory.mktemp("pair"))
    f.mockers = [f.mocker(), f.mocker()]
    f.front = f.frontend("--router-mode", "kv").ready(workers=2)
    yield f
    f.close()


def pytest_sessionfinish(session, exitstatus):
    """A file of which nothing ran is a skip to ctest (77), not a pass."""
    stats = session.config.pluginmanager.get_plugin("terminalreporter").stats
    if exitstatus == 0 and stats.get("skipped") and not stats.get("passed"):
        session.exitstatus = 77


def pytest_runtest_setup():
    """Processes that other tests ended say nothing of this one."""
    Process.started[:] = [p for p in Process.started if not p.ended]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    """A test that fails says what every process of it said last, and before that its warnings and changes of workers."""
    report = (yield).get_result()
    if report.failed:
        for p in Process.started:
            earlier = [line for line in p.lines[:-40] if re.search(r" (WARN|ERROR) |has \d+ workers", line)]
            said = earlier[-40:] + p.lines[-40:]
            report.sections.append((f"log of {p.name}, pid {p.child.pid}", "\n".join(said)))
