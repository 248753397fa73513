import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from weir import Fleet  # noqa: E402


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
