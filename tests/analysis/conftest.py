from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from prefine_ray.analysis.report import Report, make_report
from tests.analysis.synthetic import synthetic_episodes, write_results


@pytest.fixture(scope="session")
def two_tasks() -> pd.DataFrame:
    """BallRun and HopperVelocity at their middle threshold, four weights, three seeds."""
    return synthetic_episodes(tasks=("BallRun", "HopperVelocity"))


@pytest.fixture(scope="session")
def results_dir(tmp_path_factory: pytest.TempPathFactory, two_tasks: pd.DataFrame) -> Path:
    return write_results(tmp_path_factory.mktemp("results"), two_tasks, with_training=True)


@pytest.fixture(scope="session")
def report(results_dir: Path) -> Report:
    return make_report(results_dir, provenance={"Commit": "abc123 <dirty>"})
