"""Episodes of base and picked policies on the report page."""

from __future__ import annotations

import shutil
from pathlib import Path

import imageio.v3 as iio
import pytest

from prefine_ray.analysis.plots import clips as module
from prefine_ray.analysis.plots.clips import clips
from prefine_ray.analysis.report import make_report
from prefine_ray.analysis.rows import load_results
from prefine_ray.analysis.summary import summarize
from prefine_ray.experiment.config import dump_config, make_config
from prefine_ray.policies.zoo import ZOO
from prefine_ray.results.folder import ResultsDir
from prefine_ray.rollouts.evaluation import evaluation_seeds
from tests.analysis.synthetic import synthetic_episodes, write_results


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResultsDir:
    """Of one task whose picked policies are there; two pictures an episode, as each takes a tenth of a second."""
    monkeypatch.setattr(module, "_FRAMES", 2)
    episodes = synthetic_episodes(tasks=("BallRun",))
    results = ResultsDir(write_results(tmp_path / "results", episodes))
    results.write_config(dump_config(make_config(name="a", tasks=("BallRun",), weights=(0, 1, 5, 20), seed=3)))
    results.policies_folder.mkdir()
    for cell in episodes["cell"].unique():
        shutil.copy(ZOO / "BallRun" / "base.safetensors", results.policy_path(cell))
    return results


def test_clips_are_drawn_once_and_shown_from_then_on(folder: ResultsDir):
    assert "image/webp" not in make_report(folder.root).page.read_text()
    report = make_report(folder.root, draw_clips=True)
    assert report.page.read_text().count("image/webp") == 2
    base, picked = sorted(folder.clips_folder.iterdir())
    seed = evaluation_seeds(3, "BallRun", 0, 1)[0]
    assert base.name == f"BallRun-base-{seed}.webp"
    chosen = report.summary.cells.query("chosen").iloc[0]
    assert picked.name == f"BallRun-prefine-best-20-{chosen['weight']:g}-0-{seed}.webp"
    assert iio.imread(base, index=0).shape[1] == 300
    drawn = base.stat().st_mtime_ns
    page = make_report(folder.root, draw_clips=True).page.read_text()
    assert base.stat().st_mtime_ns == drawn
    assert f"BallRun, weight {chosen['weight']:g}" in page
    assert make_report(folder.root).page.read_text().count("image/webp") == 2


def test_policies_that_are_not_at_hand_are_left_out(folder: ResultsDir):
    shutil.rmtree(folder.policies_folder)
    results = load_results(folder.root)
    shown = clips(results, summarize(results), folder.clips_folder, make=True)
    assert [clip.policy for clip in shown] == ["base policy"]
