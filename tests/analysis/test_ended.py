"""The rows that `prefine status` keeps are those of the folder, and only packs that have changed are read again."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.results_folder import grid_config, make_folder
from prefine_ray.analysis.columns import METRICS
from prefine_ray.analysis.progress.ended import ended_cells, run_rows
from prefine_ray.analysis.progress.status import status_text
from prefine_ray.analysis.rows import episode_table, run_table
from prefine_ray.results.folder import ResultsDir


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of 200 cells in packs of 20, with their base policies."""
    root = tmp_path_factory.mktemp("scale") / "results"
    config = grid_config(200, "replicates").model_copy(update={"tasks": ("BallRun", "HopperVelocity")})
    make_folder(root, config, per_pack=5)
    return root


def test_the_runs_are_those_of_the_episodes(folder):
    results = ResultsDir(folder)
    episodes = results.read("episodes")
    expected = run_table(episode_table(episodes[episodes["threshold"].notna()]))
    for _ in range(2):  # read, and kept
        found = run_rows(ended_cells(results).runs).set_index("cell").loc[expected["cell"]].reset_index()
        columns = [name for name in expected if name not in METRICS]
        pd.testing.assert_frame_equal(found[columns], expected[columns], check_dtype=False)
        pd.testing.assert_frame_equal(found[METRICS], expected[METRICS], rtol=1e-12)


def test_only_changed_packs_are_read_again(folder, monkeypatch):
    results = ResultsDir(folder)
    before = ended_cells(results)
    read: list[str] = []
    part = ResultsDir.read_part
    monkeypatch.setattr(
        ResultsDir, "read_part", lambda self, kind, name: (read.append(name), part(self, kind, name))[1]
    )
    again = ended_cells(results)
    assert read == []
    pd.testing.assert_frame_equal(again.trials, before.trials)
    pd.testing.assert_frame_equal(again.runs, before.runs)
    name = results.packs()[3]
    rows = {kind: part(results, kind, name) for kind in ("episodes", "trials")}
    results.write_part(name, {**rows, "episodes": rows["episodes"].assign(cost=0.0)})
    changed = ended_cells(results).runs
    assert set(read) == {name}
    assert (changed.loc[changed["pack"] == name, "cost"] == 0.0).all()
    assert (changed.loc[changed["pack"] != name, "cost"] > 0.0).any()


def test_a_forgotten_cell_and_a_lost_cache_change_nothing_else(folder):
    results = ResultsDir(folder)
    text = status_text(folder)
    for path in results.cache_folder.iterdir():
        path.write_bytes(b"no table")
    assert status_text(folder) == text
    assert f"{len(results.read_grid())} of {len(results.read_grid())} cells ended" in text
