"""Nodes that cannot take part are refused before anything runs, each problem once with the node and the remedy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import prefine_ray
from tests.faults.nodes import Cluster, Network
from tests.faults.sweeps import CONFIG, Sweep

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("mounting"),
]


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[Sweep]:
    """A sweep that has not begun."""
    sweep = Sweep(tmp_path / "sweep", tmp_path / "sweep" / "data", CONFIG)
    yield sweep
    sweep.close()


def old_code(folder: Path) -> Path:
    """A copy of the sources with a change."""
    shutil.copytree(Path(prefine_ray.__file__).parent, folder / "prefine_ray")
    with open(folder / "prefine_ray" / "core" / "seeding.py", "a") as file:
        file.write("# older\n")
    return folder


def test_what_is_wrong_with_a_cluster_is_said_before_anything_runs(ray_folder, network, refused, tmp_path):
    """One host has a disk of its own where the results go, the other another version of the code."""
    hosts = network.hosts
    cluster = Cluster(ray_folder, network.address)
    try:
        own_disk = f'mount -t tmpfs tmpfs {refused.folder} && exec "$@"'
        cluster.add("own-disk", hosts[0].address, prefix=[*hosts[0].prefix, "sh", "-c", own_disk, "sh"])
        old = f"PYTHONPATH={old_code(tmp_path / 'old')}"
        cluster.add("old-code", hosts[1].address, prefix=[*hosts[1].prefix, "env", old])
        cluster.wait()
        check_sqlite_is_refused(cluster, refused)
        check_nodes_are_refused(cluster, refused, network)
    finally:
        cluster.close()


def check_sqlite_is_refused(cluster: Cluster, sweep: Sweep) -> None:
    sweep.start("--address", cluster.address)
    output = sweep.finish(status=2)
    assert "the cluster has 3 hosts, and the MLflow store is a sqlite file" in output
    assert "MLFLOW_TRACKING_URI" in output
    assert not sweep.results.exists()


def check_nodes_are_refused(cluster: Cluster, sweep: Sweep, network: Network) -> None:
    """MLflow's address is this machine's own, where besides nothing listens."""
    sweep.start("--address", cluster.address, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    lines = sweep.finish(status=2).splitlines()
    assert "Traceback" not in sweep.output
    own_disk = [line for line in lines if network.hosts[0].address in line]
    assert any(f"does not share {sweep.results.resolve()}" in line and "NFS" in line for line in own_disk)
    old_code = [line for line in lines if network.hosts[1].address in line]
    assert len(old_code) == 1
    assert "differs from the driver's; install the same commit there" in old_code[0]
    unreachable = [line for line in lines if "does not reach MLflow at http://127.0.0.1:9" in line]
    assert len(unreachable) == 1  # said once, for both nodes that got so far
    assert all(f"({address})" in unreachable[0] for address in (network.address, network.hosts[0].address))
    assert not list(sweep.results.glob("*.yaml"))
    assert not list(sweep.results.glob(".preflight*"))
