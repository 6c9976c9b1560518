from __future__ import annotations

import pytest

from tests.faults.nodes import can_mount


@pytest.fixture
def mounting() -> None:
    """Tried when a test that mounts begins, not when tests are collected."""
    if not can_mount():
        pytest.skip("this user, or this container, may not mount a file system")
