"""A sweep whose replicates have data and base policies of their own, on real Ray and a real simulator."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml

from prefine_ray.data.hdf5 import read_summary
from prefine_ray.experiment.cells import base_cells, make_cells
from prefine_ray.experiment.config import parse_config
from prefine_ray.orchestration.prepare import prepare
from prefine_ray.results.folder import ResultsDir
from tests.small_sweep import finish, start

CONFIG = {
    "name": "replicates",
    "tasks": ["BallRun"],
    "weights": [0, 5],
    "seeds": 2,
    "tuning_seeds": 1,
    "base": "clone",
    "base_steps": 20,
    "data": {"episodes": 40, "draws": "own"},
    "preferences": {"num_preferred": 8, "num_dispreferred": 4},
    "finetune": {"steps": 10, "batch_size": 16, "advanced": {"log_every": 5, "checkpoint_every": 10}},
    "evaluation": {"episodes": 2},
}


def test_every_replicate_has_its_own_data_and_base(tmp_path: Path):
    folder = tmp_path / "one"
    folder.mkdir()
    finish(start(folder, CONFIG, "--actors", "1"))
    data, bases = sorted((tmp_path / "data").glob("*.hdf5")), sorted((tmp_path / "data").glob("*-base-*.safetensors"))
    assert [len(data), len(bases)] == [3, 3]
    assert len({read_summary(file).returns.tobytes() for file in data}) == 3
    rows = pd.read_parquet(folder / "results" / "episodes.parquet")
    assert set(rows["draws"]) == {"own"}
    assert rows["own_base"].all()
    assert len(rows) == 2 * (2 + 2 * 3)  # base cells, and two weights on three seeds
    trials = pd.read_parquet(folder / "results" / "trials.parquet").set_index("cell")
    assert set(trials["status"]) == {"finished"}
    caption = (folder / "results" / "tables" / "summary.md").read_text()
    assert (
        "each with a data set of its own; its own preferences, training and evaluation; its own base policy" in caption
    )
    # Another run would find all of it again, and no cell to train.
    config = parse_config(yaml.safe_dump(CONFIG), "replicates")
    inputs = prepare(config, tmp_path / "data", actors=[])
    cells = [*base_cells(config, inputs), *make_cells(config, inputs)]
    assert {cell.name for cell in cells} == ResultsDir(folder / "results").finished_cells() == set(rows["cell"])
    assert len(list((tmp_path / "data").iterdir())) == 6
