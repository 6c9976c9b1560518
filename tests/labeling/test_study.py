"""A study with simulated raters in small: rows, the same again after a cut, and a figure and a table of them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
import yaml

from prefine_ray.analysis.tables.label_study import answers_until_safe
from prefine_ray.cli.parser import main
from prefine_ray.core.tables import read_table
from prefine_ray.experiment.config import ConfigError
from prefine_ray.labeling.study import packs, part_path, run_study
from prefine_ray.labeling.study_config import StudyConfig, load_study

SMALL = {
    "name": "small",
    "tasks": "BallRun",
    "replicates": 2,
    "errors": [0.0, 0.3],
    "answers": [12],
    "uses": ["labels", "pairs"],
    "data": {"episodes": 30, "draws": "overlapping"},
    "base_steps": 10,
    "hidden": [8],
    "selection_steps": 10,
    "finetune": {"steps": 20, "batch_size": 16},
    "evaluation_episodes": 2,
}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """The folder of the small study, and beside it its configuration."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    assert main(["labels", "study", str(folder / "small.yaml"), "--results", str(folder / "small")]) == 0
    return folder


def test_there_is_a_row_for_every_cell_and_base_policy(results):
    rows = read_table(results / "small" / "rows.parquet")
    judged = rows[rows["use"] != "base"]
    assert len(judged) == 2 * 2 * 2 * 2  # uses, orders, error rates, replicates
    assert len(rows) == len(judged) + 2
    assert not judged.duplicated(["task", "use", "order", "error_rate", "replicate", "answers"]).any()
    assert (judged.loc[judged["error_rate"] == 0.0, "agreement"] == 1.0).all()
    assert (judged.loc[judged["error_rate"] > 0.0, "agreement"] < 1.0).any()
    assert judged["trained"].all()
    base = rows[rows["use"] == "base"].set_index("replicate")["return"]
    assert (judged["return"] != judged["replicate"].map(base)).all()


def test_finished_packs_are_not_run_again_and_lost_ones_come_out_the_same(results):
    config, folder = StudyConfig(**SMALL), results / "small"
    assert [*run_study(config, folder)] == []
    before = {path: path.read_bytes() for path in sorted((folder / "parts").iterdir())}
    lost, damaged = (part_path(config, pack, folder) for pack in packs(config)[1:])
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert len([*islice(run_study(config, folder), 1)]) == 1  # cut after one of the two
    assert len([*run_study(config, folder)]) == 1
    assert {path: path.read_bytes() for path in sorted((folder / "parts").iterdir())} == before


def test_the_figure_and_the_table_are_made_of_the_rows(results):
    folder = results / "small"
    made = {name: (folder / name).read_bytes() for name in ("answers.png", "summary.md", "rows.parquet")}
    for name in made:
        (folder / name).unlink()
    assert main(["labels", "study", str(results / "small.yaml"), "--results", str(folder)]) == 0
    assert {name: (folder / name).read_bytes() for name in made} == made
    assert made["answers.png"].startswith(b"\x89PNG")
    text = made["summary.md"].decode()
    assert "30% wrong" in text
    assert "pairs as pairs" in text


def test_more_answers_leave_the_names_of_finished_packs():
    config, folder = StudyConfig(**SMALL), Path("results")
    grown = StudyConfig(**{**SMALL, "answers": [12, 24]})
    paths, more = ([part_path(one, pack, folder) for pack in packs(one)] for one in (config, grown))
    assert set(paths) < set(more)
    other = StudyConfig(**{**SMALL, "weight": 1.0})
    assert not set(paths) & {part_path(other, pack, folder) for pack in packs(other)}


def test_what_is_wrong_in_a_configuration_is_named(tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_text(yaml.safe_dump({**SMALL, "error": 0.1, "uses": ["labels", "votes"]}))
    with pytest.raises(ConfigError, match=r"(?s)odd.yaml: uses.*votes.*error: unknown key. Did you mean 'errors'"):
        load_study(path)


def test_a_line_is_safe_from_where_it_stays_safe():
    line = pd.DataFrame({"answers": [10, 20, 40, 80], "safety": ["safe", "uncertain", "safe", "safe"]})
    assert answers_until_safe(line) == 40
    assert pd.isna(answers_until_safe(line.assign(safety="unsafe")))
    assert pd.isna(answers_until_safe(line.assign(safety=["safe", "safe", "safe", "uncertain"])))
