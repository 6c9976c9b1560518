"""Ends that come from outside: one line with the command that resumes, which leads to the rows of an undisturbed sweep.

`make test-faults` runs these and prints what was done and how long it took.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.faults import processes
from tests.faults.nodes import Cluster
from tests.faults.sweeps import CELLS, CONFIG, Sweep, assert_same, fill

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

ACTOR = "ray::RolloutActor"
GRID = CELLS - 2  # without the base cells


def resume_words(output: str) -> list[str]:
    """The command that the output names, once."""
    (line,) = (line for line in output.splitlines() if line.startswith("Resume with: "))
    return shlex.split(line.removeprefix("Resume with: "))


def assert_one_clear_end(sweep: Sweep, output: str) -> None:
    words = resume_words(output)
    assert words[:2] == ["prefine", "sweep"]
    assert str(sweep.results) in words
    assert "Traceback" not in output


def test_terminated(sweep, reference, tell):
    sweep.start()
    sweep.wait_for_training()
    begun = time.monotonic()
    sweep.process.send_signal(signal.SIGTERM)
    output = sweep.finish(status=143)
    seconds = time.monotonic() - begun
    assert_one_clear_end(sweep, output)
    assert "stopped" in sweep.status().splitlines()[1]
    sweep.start("--resume")
    sweep.finish()
    rows = assert_same(sweep, reference)
    tell(f"SIGTERM during a fit: ended after {seconds:.1f} s, resumed, {rows} episode rows identical")


def test_head_node_lost(ray_folder, sweep, reference, tell):
    cluster = Cluster(ray_folder, cpus=2)
    try:
        sweep.start("--address", cluster.address)
        sweep.wait_for_training()
        begun = time.monotonic()
        cluster.nodes[0].kill()
        output = sweep.finish(status=2, timeout=300)
        seconds = time.monotonic() - begun
    finally:
        cluster.close()
    port = cluster.address.rpartition(":")[2]
    assert f":{port} is gone" in output
    assert_one_clear_end(sweep, output)
    assert sweep.status().splitlines()[1].startswith("LOST: Ray's head node was")
    sweep.start("--resume")  # on a Ray of its own
    sweep.finish()
    rows = assert_same(sweep, reference)
    tell(f"head node killed during a fit: ended after {seconds:.1f} s, resumed, {rows} episode rows identical")


def test_killed_during_the_evaluation_of_fine_tuned_policies(sweep, reference, tell):
    sweep.start()
    sweep.wait_for_training()
    actors = processes.named([sweep.process.pid], ACTOR)
    for actor in actors:  # the evaluation of the first pack begins, and does not end
        os.kill(actor, signal.SIGSTOP)
    pack = CONFIG["resources"]["max_population"]
    sweep.wait(lambda: len(list(sweep.results.glob("policies/[!.]*"))) >= pack, "the policies of a pack")
    processes.kill(sweep.process.pid, *actors)
    sweep.process.wait()
    assert len(list(sweep.results.glob("parts/trials/*.parquet"))) == 1  # the base cells
    sweep.start()
    sweep.finish()
    rows = assert_same(sweep, reference)
    tell(f"driver killed during the evaluation of fine-tuned policies: resumed, {rows} episode rows identical")


@pytest.mark.usefixtures("mounting")
def test_results_folder_turns_read_only(sweep, reference, tell):
    sweep.start()
    sweep.wait_for_training()
    begun = time.monotonic()
    subprocess.run(["mount", "--bind", str(sweep.results), str(sweep.results)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(sweep.results)], check=True)
        output = sweep.finish(status=2)
        seconds = time.monotonic() - begun
    finally:
        sweep.close()
        subprocess.run(["umount", "-l", str(sweep.results)], check=True)
    assert f"{sweep.results}: Read-only file system" in output
    assert "start the same command again to resume" in output
    assert "Traceback" not in output
    sweep.start()
    sweep.finish()
    rows = assert_same(sweep, reference)
    tell(f"results folder read-only during a fit: ended after {seconds:.1f} s, resumed, {rows} episode rows identical")


def test_an_error_that_comes_again_is_not_retried(tmp_path, tell):
    """The data are cut after they were checked: workers and the constructors of counterfactual actors raise."""
    sweep = Sweep(tmp_path / "sweep", tmp_path / "data", {**CONFIG, "counterfactuals": "actors"})
    try:
        sweep.start()
        sweep.wait_for_base_cells()
        files = list((tmp_path / "data").glob("*.hdf5"))  # one for each seed
        for data in files:
            os.truncate(data, data.stat().st_size // 2)
        begun = time.monotonic()
        output = sweep.finish(status=1)
        seconds = time.monotonic() - begun
    finally:
        sweep.close()
    assert "runs again" not in output
    assert f"{GRID} of them failed" in sweep.status()
    errors = sweep.rows("trials").query("status == 'failed'")["error"]
    assert len(errors) == GRID
    assert errors.str.contains("|".join(data.name for data in files), regex=True).all()
    entries = f" on {socket.gethostname()}\n"
    assert all(log.read_text().count(entries) == 1 for log in (sweep.results / "logs").glob("*.log"))
    tell(f"data cut after the check: {GRID} cells failed once each, with the reason, after {seconds:.1f} s")


@pytest.mark.usefixtures("mounting")
def test_the_disk_of_rays_folder_full(sweep, reference, tell):
    with tempfile.TemporaryDirectory(prefix="rf") as name:
        folder = Path(name)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", name], check=True)
        try:
            sweep.start(RAY_TMPDIR=name)
            sweep.wait_for_training()
            fill(folder)
            begun = time.monotonic()
            output = sweep.finish(status=2, timeout=300)
            seconds = time.monotonic() - begun
        finally:
            sweep.close()
            subprocess.run(["umount", "-l", name], check=True)
    assert f"{name}/ray/session_" in output
    assert "No space left on device" in output
    assert_one_clear_end(sweep, output)
    sweep.start()
    sweep.finish()
    rows = assert_same(sweep, reference)
    tell(f"disk of Ray's folder filled: ended after {seconds:.1f} s, resumed, {rows} episode rows identical")
