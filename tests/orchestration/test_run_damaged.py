"""Damages of a finished sweep: every command names the file, the sweep makes it again, and the rows are the same."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from prefine_ray.cli.parser import main
from prefine_ray.core.tables import read_table
from prefine_ray.experiment.job import CurveRecorder
from prefine_ray.orchestration.training import write_checkpoint
from prefine_ray.results.folder import ResultsDir
from tests.makers import small_learner
from tests.orchestration.test_training import PACK
from tests.small_sweep import CELLS, CONFIG, finish, start

TIMING = ["wall_s"]  # columns that are not results


@dataclass
class Damaged:
    """A copy of a finished sweep in which files were damaged, and the names of these."""

    folder: Path
    files: list[Path]

    @property
    def results(self) -> Path:
        return self.folder / "results"


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def flip(path: Path) -> Path:
    """One bit in the middle; size and time of change stay, as where a disk is at fault."""
    changed, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(changed.st_atime_ns, changed.st_mtime_ns))
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def remove(path: Path) -> Path:
    path.unlink()
    return path


def half_a_checkpoint(results: ResultsDir, pack: str) -> Path:
    """What a fit leaves whose machine stops while a checkpoint is written."""
    folder = results.root / "ray" / "train" / pack / "checkpoint_1"
    folder.mkdir(parents=True)
    write_checkpoint(folder, small_learner(), CurveRecorder(PACK), pd.DataFrame({"step": [2]}), 1.0)
    snapshot = {"checkpoint_results": [{"checkpoint_dir_name": folder.name}]}
    (folder.parent / "checkpoint_manager_snapshot.json").write_text(json.dumps(snapshot))
    return cut(folder / "state.safetensors")


@pytest.fixture(scope="module")
def damaged(finished, tmp_path_factory) -> Damaged:
    """Every kind of damage, each in a pack of its own as far as there are packs."""
    folder = tmp_path_factory.mktemp("damaged") / "sweep"
    shutil.copytree(finished[0], folder)
    (folder.parent / "data").symlink_to(finished[0].parent / "data")
    results = ResultsDir(folder / "results")
    with_policies = [
        name for name in results.packs() if not set(results.read_part("trials", name)["method"]) <= {"base"}
    ]
    (base, *_) = [name for name in results.packs() if name not in with_policies]
    first, second, third, fourth = with_policies[:4]
    policies = [results.policy_path(cell) for cell in results.read_part("trials", fourth)["cell"]]
    (results.root / "state.json").write_text('{"host": "h", "pid": 1, "updated": NaN}')
    files = [
        flip(results.part_path("episodes", first)),
        cut(results.part_path("curves", second)),
        empty(results.part_path("trials", third)),
        remove(results.part_path("episodes", base)),
        remove(policies[0]),
        flip(policies[1]),
    ]
    return Damaged(folder, [*files, half_a_checkpoint(results, third)])


def named(files: list[Path], text: str) -> list[Path]:
    """The files that a text does not name."""
    return [file for file in files if str(file) not in text]


def test_status_names_every_damage(damaged, capsys):
    assert main(["status", str(damaged.results)]) == 0
    shown = capsys.readouterr().out
    assert named([*damaged.files, damaged.results / "state.json"], shown) == []
    tasks = [line.split() for line in shown.splitlines() if line.split()[:1] in (["BallRun"], ["HopperVelocity"])]
    done = sum(int(words[1]) for words in tasks)
    assert 0 < done < CELLS  # a finished count is of rows that are there
    assert f"{done} of {CELLS} cells ended" in shown


def test_a_state_from_the_future_is_named(damaged, tmp_path, capsys):
    copy = Path(shutil.copytree(damaged.results, tmp_path / "results"))
    later = time.time() + 10**6
    state = {"host": "h", "pid": 1, "started": later, "updated": later, "phase": "running", "running": []}
    (copy / "state.json").write_text(json.dumps(state))
    assert main(["status", str(copy)]) == 0
    assert f"damaged: {copy / 'state.json'}: holds a time in the future" in capsys.readouterr().out


def test_the_report_says_what_it_lacks(damaged, tmp_path, capsys):
    assert main(["report", str(damaged.results), "--output", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert named(damaged.files, shown) == []
    assert named(damaged.files, (tmp_path / "tables" / "summary.md").read_text()) == []


@pytest.mark.parametrize("name", ["episodes", "trials", "curves", "cells"])
@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_the_report_refuses_damaged_rows(finished, tmp_path, capsys, name, damage):
    copy = Path(shutil.copytree(finished[0] / "results", tmp_path / "results"))
    file = damage(copy / f"{name}.parquet")
    assert main(["report", str(copy), "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"prefine: error: {file}: ")


def test_sync_names_every_damage(damaged, capsys):
    assert main(["sync", str(damaged.results)]) == 1
    output = capsys.readouterr()
    assert named(damaged.files, output.out + output.err) == []


@pytest.mark.parametrize("options", [[], ["--retry-failed"]])
def test_the_sweep_names_every_damage_and_runs_the_cells_again(damaged, finished, tmp_path, options):
    folder = tmp_path / "sweep"
    shutil.copytree(damaged.folder, folder)
    (tmp_path / "data").symlink_to(finished[0].parent / "data")
    output = finish(start(folder, CONFIG, *options))
    moved = [folder / file.relative_to(damaged.folder) for file in damaged.files]
    assert named(moved, output) == []
    assert ResultsDir(folder / "results").find_damages() == []
    for kind in ("episodes", "curves", "trials"):
        again, before = (read_table(place / "results" / f"{kind}.parquet") for place in (folder, finished[0]))
        pd.testing.assert_frame_equal(
            again.drop(columns=TIMING, errors="ignore"), before.drop(columns=TIMING, errors="ignore"), check_exact=True
        )
    for policy in (finished[0] / "results" / "policies").iterdir():
        assert (folder / "results" / "policies" / policy.name).read_bytes() == policy.read_bytes()
