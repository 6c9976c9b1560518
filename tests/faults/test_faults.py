"""Each fault in the middle of a real sweep, which resumes, itself or by the same command, to the undisturbed rows.

`make test-faults` runs these and prints what was killed and how long recovery took.
"""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from tests.faults import processes
from tests.faults.nodes import Cluster, MlflowServer, Node, environment
from tests.faults.sweeps import CELLS, assert_same, fill

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

WORKER, TRIAL = "ray::RayTrainWorker", "ray::ImplicitFunc"
BUSY_ACTOR = "ray::RolloutActor.table"
ROLES = {
    WORKER: "the Train worker",
    "ray::TrainController": "its controller",
    TRIAL: "the trial",
    "ray::RolloutActor": "rollout actors",
}


def node_of(nodes: list[Node], beginning: str) -> Node | None:
    """The node that runs such a process."""
    return next((node for node in nodes if processes.named([node.process.pid], beginning)), None)


def roles_on(node: Node) -> str:
    """What a node is there for at the moment."""
    found = [role for beginning, role in ROLES.items() if processes.named([node.process.pid], beginning)]
    return ", ".join(found)


def test_rollout_actor_killed(cluster, sweep, reference, tell):
    sweep.start("--address", cluster.address)
    sweep.wait_for_training()
    victims = sweep.wait(lambda: processes.named(cluster.roots, BUSY_ACTOR), "a busy rollout actor")
    processes.kill(victims[0])
    seconds = sweep.wait_for_recovery()
    sweep.finish()
    rows = assert_same(sweep, reference)
    tell(f"rollout actor killed during evaluation: resumed after {seconds:.1f} s, {rows} episode rows identical")


def test_train_worker_killed(cluster, sweep, reference, tell):
    sweep.start("--address", cluster.address)
    sweep.wait_for_training()
    processes.kill(processes.named(cluster.roots, WORKER)[0])
    seconds = sweep.wait_for_recovery()
    sweep.finish()
    rows = assert_same(sweep, reference)
    tell(f"Train worker killed after a checkpoint: resumed after {seconds:.1f} s, {rows} episode rows identical")


@pytest.mark.parametrize("process", [WORKER, TRIAL], ids=["of the Train worker", "of the trial"])
def test_node_killed(process, ray_folder, sweep, reference, tell):
    cluster = Cluster(ray_folder, cpus=0)  # the head does no work, so that the fit is on a node that can be lost
    try:
        nodes = [cluster.add(name, cpus=2) for name in ("second", "third")]
        cluster.wait()
        sweep.start("--address", cluster.address)
        sweep.wait_for_training()
        victim = node_of(nodes, process)
        assert victim is not None
        lost = roles_on(victim)
        victim.kill()
        seconds = sweep.wait_for_recovery()
        output = sweep.finish()
    finally:
        cluster.close()
    rows = assert_same(sweep, reference)
    assert "FAILED" not in output
    tell(f"node killed ({lost}): resumed after {seconds:.1f} s, {rows} episode rows identical")


@pytest.mark.parametrize("where", ["own Ray", "cluster"])
def test_driver_killed(where, sweep, reference, tell, request):
    options = () if where == "own Ray" else ("--address", request.getfixturevalue("cluster").address)
    sweep.start(*options)
    sweep.wait_for_training()
    processes.kill(sweep.process.pid)
    sweep.process.wait()
    begun = time.monotonic()
    sweep.start(*options)
    sweep.wait_for_packs()  # a Train worker of the killed one may have written a last checkpoint
    sweep.wait_for_recovery()
    seconds = time.monotonic() - begun
    sweep.finish()
    rows = assert_same(sweep, reference)
    tell(f"driver killed ({where}): the same command resumed {seconds:.1f} s later, {rows} episode rows identical")


def test_mlflow_server_killed(sweep, reference, tell, tmp_path):
    server = MlflowServer(tmp_path)
    try:
        server.start()
        sweep.start(MLFLOW_TRACKING_URI=server.uri)
        sweep.wait_for_training()
        server.kill()
        output = sweep.finish()
        assert "MLflow" in output
        rows = assert_same(sweep, reference)
        begun = time.monotonic()
        server.start()
        command = [sys.executable, "-m", "prefine_ray", "sync", str(sweep.results)]
        subprocess.run(command, check=True, env=environment(MLFLOW_TRACKING_URI=server.uri))
        seconds = time.monotonic() - begun
        client = MlflowClient(server.uri)
        experiment = client.get_experiment_by_name("prefine")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        cells = [run.data.tags["prefine.cell"] for run in runs if "mlflow.parentRunId" in run.data.tags]
        assert len(cells) == len(set(cells)) == CELLS
        assert len(runs) == CELLS + 1
    finally:
        server.kill()
    tell(
        f"MLflow server killed during a fit: the sweep continued, {rows} episode rows identical; "
        f"with the server back, `prefine sync` had all {CELLS} runs there after {seconds:.1f} s"
    )


@pytest.mark.usefixtures("mounting")
def test_results_disk_full(sweep, reference, tell):
    sweep.results.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(sweep.results)], check=True)
    try:
        sweep.start()
        sweep.wait_for_training()
        filler = fill(sweep.results)
        begun = time.monotonic()
        output = sweep.finish(status=2)
        stopped = time.monotonic() - begun
        assert "No space left" in output
        assert "start the same command again" in output
        assert "Traceback" not in output
        filler.unlink()
        begun = time.monotonic()
        sweep.start()
        sweep.wait_for_packs()
        sweep.wait_for_recovery()
        seconds = time.monotonic() - begun
        sweep.finish()
        rows = assert_same(sweep, reference)
    finally:
        sweep.close()
        subprocess.run(["umount", "-l", str(sweep.results)], check=True)
    tell(
        f"results disk filled during a fit: stopped with a message after {stopped:.1f} s; with room again the same "
        f"command resumed {seconds:.1f} s later, {rows} episode rows identical"
    )


def test_network_of_a_node_cut(ray_folder, sweep, reference, tell, network, tmp_path):
    server = MlflowServer(tmp_path, network.address)
    cluster = None
    try:
        cluster = Cluster(ray_folder, network.address, cpus=0)
        nodes = [cluster.add(host.namespace, host.address, cpus=2, prefix=host.prefix) for host in network.hosts]
        cluster.wait()
        server.start()
        sweep.start("--address", cluster.address, MLFLOW_TRACKING_URI=server.uri)
        sweep.wait_for_training()
        victim = node_of(nodes, WORKER)
        assert victim is not None
        network.hosts[nodes.index(victim)].unplug()
        seconds = sweep.wait_for_recovery()
        sweep.finish()
    finally:
        server.kill()
        if cluster is not None:
            cluster.close()
    rows = assert_same(sweep, reference)
    tell(f"network of the fit's node cut: resumed after {seconds:.1f} s, {rows} episode rows identical")


def test_four_nodes_give_the_rows_of_one(ray_folder, sweep, reference, tell):
    cluster = Cluster(ray_folder)
    try:
        for name in ("second", "third", "fourth"):
            cluster.add(name)
        cluster.wait()
        begun = time.monotonic()
        sweep.start("--address", cluster.address, "--actors", "3")  # instead of 2
        sweep.finish()
        seconds = time.monotonic() - begun
    finally:
        cluster.close()
    rows = assert_same(sweep, reference)
    tell(f"four nodes: {rows} episode rows identical to one node's, in {seconds:.1f} s")
