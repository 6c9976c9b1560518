import contextlib
import json
import subprocess
import time
from pathlib import Path

import pytest

from prefine_ray.analysis.progress.status import driver_line
from prefine_ray.core.errors import PrefineError
from prefine_ray.results import heartbeat as module
from prefine_ray.results.folder import StorageError
from prefine_ray.results.heartbeat import UNREADABLE, Heartbeat, RunningPack, read_state


def test_a_run_says_what_it_does_and_how_it_ended(tmp_path):
    pack = RunningPack("p1", "BallRun", "prefine BallRun", 4, 12.0, 0)
    with Heartbeat(tmp_path) as beat:
        state = read_state(tmp_path)
        assert state is not None
        assert state.phase == "preparing"
        assert state.alive
        beat.begin(pack)
        beat._write()
        assert read_state(tmp_path).running == [pack]
    state = read_state(tmp_path)
    assert (state.phase, state.running, state.alive) == ("finished", [], False)


def test_a_pack_that_runs_again_counts_from_its_first_start(tmp_path):
    beat = Heartbeat(tmp_path)
    beat.begin(RunningPack("p1", "BallRun", "prefine BallRun", 4, 12.0, 0))
    beat.begin(RunningPack("p2", "CarRun", "prefine CarRun", 2, 13.0, 0))
    beat.end("p1")
    beat.begin(RunningPack("p1", "BallRun", "prefine BallRun", 4, 99.0, 1))
    beat._write()
    assert [(p.name, p.started, p.failures) for p in read_state(tmp_path).running] == [("p2", 13.0, 0), ("p1", 12.0, 1)]
    beat.end("p2")
    beat.end("p1")
    beat._write()
    assert read_state(tmp_path).running == []


def test_an_error_leaves_the_state_stopped(tmp_path):
    with pytest.raises(RuntimeError, match="broken"), Heartbeat(tmp_path):
        raise RuntimeError("broken")
    assert read_state(tmp_path).phase == "stopped"


def test_an_error_that_the_user_can_fix_is_kept(tmp_path):
    with pytest.raises(PrefineError, match="too few"), Heartbeat(tmp_path):
        raise PrefineError("too few episodes")
    assert driver_line(read_state(tmp_path)).endswith(", by an error: too few episodes")


def test_a_driver_without_a_beat_is_lost(tmp_path):
    with Heartbeat(tmp_path):
        state = read_state(tmp_path)
    state.phase = "running"
    assert state.alive
    state.updated = time.time() - 2 * module.LOST_S
    assert not state.alive


STATE = {"host": "a", "pid": 3, "started": 1.0, "updated": 2.0, "phase": "running", "running": []}
PACK = {"name": "p", "task": "BallRun", "label": "x", "cells": 2, "started": 1.0, "failures": 0}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"host": "a"', "not JSON"),
        ("", "not JSON"),
        ("[]", "state.json"),
        (json.dumps({**STATE, "updated": float("nan")}), "NaN is not a number"),
        (json.dumps({**STATE, "updated": 1e18}), "in the future"),
        (json.dumps({**STATE, "pid": "x"}), "no whole number"),
        (json.dumps({**STATE, "phase": "flying"}), "phase 'flying'"),
        (json.dumps({**STATE, "running": [{**PACK, "started": 1e18}]}), "in the future"),
        (json.dumps({**STATE, "running": [{"name": "p"}]}), "state.json"),
    ],
)
def test_a_damaged_state_is_named(tmp_path, content, problem):
    assert read_state(tmp_path) is None
    (tmp_path / "state.json").write_text(json.dumps({**STATE, "running": [PACK]}))
    assert read_state(tmp_path).running == [RunningPack(**PACK)]
    (tmp_path / "state.json").write_text(content)
    state = read_state(tmp_path)
    assert (state.phase, state.alive) == (UNREADABLE, False)
    assert problem in state.problem
    assert f"{tmp_path / 'state.json'}" in driver_line(state)


def fill_and_wait(folder: Path) -> None:
    with contextlib.suppress(OSError):
        (folder / "filler").write_bytes(bytes(2**20))
    time.sleep(60)  # ended by the interrupt


@pytest.mark.usefixtures("mounting")
def test_a_full_disk_ends_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_S", 0.05)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], check=True)
    try:
        with pytest.raises(StorageError, match="make room"), Heartbeat(tmp_path):
            fill_and_wait(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
