"""A grid that grows by a cell that diverges: only new cells run, it fails alone, and it can be run again."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.faults.sweeps import CONFIG, Sweep

SMALL = {**CONFIG, "preferred": ["best"], "weights": [0], "seeds": 1, "finetune": {**CONFIG["finetune"], "steps": 20}}
DIVERGES = 1e300  # infinite in float32


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_a_grown_grid_runs_new_cells_only_and_a_diverged_cell_fails_alone(tmp_path):
    sweep = Sweep(tmp_path, tmp_path / "data", SMALL)
    try:
        sweep.start()
        sweep.finish()
        assert "2 of 2 cells ended, 0 of them failed" in sweep.status()
        parts = {path: path.read_bytes() for path in (sweep.results / "parts").rglob("*.parquet")}
        sweep.configure({**SMALL, "weights": [0, 5, DIVERGES]})
        sweep.start()
        output = sweep.finish(status=1)
        check_after_growth(sweep, output, parts)
        sweep.start("--retry-failed")
        assert "1 failed cells will run again" in sweep.finish(status=1)
        assert len(sweep.rows("trials")) == 4
    finally:
        sweep.close()


def check_after_growth(sweep: Sweep, output: str, parts: dict) -> None:
    assert {path: path.read_bytes() for path in parts} == parts
    new = [path for path in (sweep.results / "parts" / "trials").glob("*.parquet") if path not in parts]
    trials = pd.concat(pd.read_parquet(path) for path in new)
    assert sorted(trials["weight"]) == [5.0, DIVERGES]
    failed = sweep.rows("trials").query("status == 'failed'")
    assert failed["weight"].tolist() == [DIVERGES]
    assert "NaN" in failed["error"].item()
    log = sweep.results / failed["log"].item()
    assert "diverged" in log.read_text()
    assert set(sweep.rows().query("method == 'prefine'")["weight"]) == {0.0, 5.0}
    text = sweep.status()
    assert "4 of 4 cells ended, 1 of them failed" in text
    assert str(log) in text
    assert "best so far: BallRun threshold 20" in text
    assert str(log) in output
