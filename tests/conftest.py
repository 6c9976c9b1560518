from __future__ import annotations

import signal
from pathlib import Path

import hypothesis
import pytest

from tests.faults.nodes import can_mount
from tests.small_sweep import CONFIG, finish, start

# Modules in which Ray starts, if only for some of their tests; so do all that use the fixture `finished`.
_WITH_RAY = (
    "tests/benchmarks/test_benchmarks.py::test_rollouts_of_vector_peers",
    "tests/simulators/test_rllib.py",
    "tests/cluster/test_local_cluster.py",
    "tests/examples/",
    "tests/faults/",
    "tests/orchestration/test_listening.py",
    "tests/orchestration/test_run_",
    "tests/pretrain/test_training.py",
)

# Rooms and modules that start servers, browsers or processes, fuzz, or compare whole episodes: most of the time.
_LONG = (
    "tests/analysis/test_clips.py",
    "tests/benchmarks/",
    "tests/cli/test_doctor.py",
    "tests/clients/",
    "tests/cluster/",
    "tests/convert/",
    "tests/docs/",
    "tests/experiment/test_search.py",
    "tests/fuzz/",
    "tests/labeling/test_active.py",
    "tests/labeling/test_page.py",
    "tests/methods/test_selection.py",
    "tests/packaging/",
    "tests/policies/test_forward.py",
    "tests/pretrain/",
    "tests/rollouts/test_same_bits.py",
    "tests/rollouts/test_video.py",
    "tests/simulators/",
    "tests/test_api.py",
    "tests/test_house.py",
    "tests/tracking/",
)

# A busy machine is no defect: examples may take as long as they do.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")


def pytest_configure() -> None:
    """Lets Ctrl-C through: tests that a script began in its background ignore it, and so would what they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Marks the tests that start Ray, and those that take long without it, for `make test-unit`."""
    for item in items:
        if item.nodeid.startswith(_LONG):
            item.add_marker(pytest.mark.long)
        if item.nodeid.startswith(_WITH_RAY) or "finished" in item.fixturenames:
            item.add_marker(pytest.mark.ray)


@pytest.fixture
def mounting() -> None:
    """Tried when a test that mounts begins, not when tests are collected."""
    if not can_mount():
        pytest.skip("this user, or this container, may not mount a file system")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished sweep in miniature: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("sweeps") / "one"
    folder.mkdir()
    return folder, finish(start(folder, CONFIG, "--actors", "2"))
