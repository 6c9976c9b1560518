"""Shared by the fault tests: data, an undisturbed sweep, and a summary of what was killed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.nodes import Cluster, Network
from tests.faults.sweeps import Sweep

_SUMMARY = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep that nothing disturbed, on one node; it also collects the data that all others use."""
    folder = tmp_path_factory.mktemp("faults")
    sweep = Sweep(folder / "reference", folder / "data")
    sweep.start()
    sweep.finish()
    return sweep


@pytest.fixture
def sweep(reference: Sweep, tmp_path: Path) -> Iterator[Sweep]:
    """A sweep of the same config and data that has not begun."""
    sweep = Sweep(tmp_path / "sweep", reference.folder.parent / "data")
    yield sweep
    sweep.close()


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A short path, since Ray makes sockets below it."""
    folder = Path(tempfile.mkdtemp(prefix="rf"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cluster(ray_folder: Path) -> Iterator[Cluster]:
    """Two nodes of two CPUs each; killing the second leaves enough."""
    cluster = Cluster(ray_folder, cpus=2)
    try:
        cluster.add("second", cpus=2)
        cluster.wait()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def network() -> Iterator[Network]:
    """Two hosts."""
    try:
        network = Network(2)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("this user, or this container, may not make network namespaces, or iproute2 is missing")
    yield network
    network.close()


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a line to the summary at the end."""
    lines = request.config.stash.setdefault(_SUMMARY, [])
    return lines.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = terminalreporter.config.stash.get(_SUMMARY, [])
    if lines:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
