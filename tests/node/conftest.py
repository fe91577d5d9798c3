"""A bare node for tests of endpoints."""

import pytest

from support.bare_node import BareNode


@pytest.fixture
def node(tmp_path):
    made = BareNode(tmp_path)
    made.commit(made.genesis)
    yield made
    made.close()
