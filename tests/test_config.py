from pathlib import Path

import pytest

from prefine_ray.config import ConfigError, SweepConfig, dump_config, load_config, parse_config
from prefine_ray.tasks import BENCHMARK

SHIPPED = sorted((Path(__file__).parent.parent / "tune_configs").glob("*.yaml"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name: a\nfinetune: {beat: 1}", ["finetune.beat: unknown key", "Did you mean 'beta'", "batch_size"]),
        ("name: a\nweigths: [1]", ["weigths: unknown key", "Did you mean 'weights'"]),
        ("name: a\nfinetune: {steps: many}", ["finetune.steps", "integer", "'many'"]),
        ("name: a\nfinetune: {steps: 0}", ["finetune.steps", "greater than 0"]),
        ("name: a\nfinetune: 5", ["finetune", "(got 5)"]),
        ("name: a\nweights: [-1]", ["weights", "at least 0"]),
        ("name: a\nweights: [.nan]", ["weights", "finite"]),
        ("name: a\nseeds: 0", ["seeds must not be empty"]),
        ("name: a\npreferred: [labels]", ["preferences.labels"]),
        ("name: a\ntasks: [BalRun]", ["tasks", "unknown task 'BalRun'", "Did you mean 'BallRun'"]),
        ("name: a/b", ["name", "pattern"]),
        ("tasks: [BallRun]", ["name", "required"]),
        ("name: [", ["not valid YAML"]),
        ("- 1", ["mapping of keys to values, not list"]),
        ("", ["mapping of keys to values, not NoneType"]),
        (
            "name: a\nfinetune: {counterfactuals: actors, checkpoint_every: 70}",
            ["finetune", "checkpoint_every must be a multiple of refresh_every"],
        ),
    ],
)
def test_errors_name_file_key_and_remedy(text, parts):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "my.yaml")
    message = str(caught.value)
    assert message.startswith("my.yaml: ")
    assert [part for part in parts if part not in message] == []


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "none.yaml")


def test_forms_that_mean_the_same():
    config = parse_config("{name: a, tasks: [CarGoal, CarGoal1, BallRun], seeds: 3, weights: [5, 1]}", "x")
    assert config.tasks == ("CarGoal1", "BallRun")
    assert config.seeds == (0, 1, 2)
    assert config.weights == (0.0, 1.0, 5.0)
    assert parse_config("{name: a, tasks: benchmark}", "x").tasks == BENCHMARK


def test_thresholds():
    middle, every, listed = (SweepConfig(name="a", thresholds=t) for t in ("middle", "all", (7,)))
    assert middle.task_thresholds("BallRun") == (20.0,)
    assert every.task_thresholds("HalfCheetahVelocity") == (20.0, 40.0, 80.0)
    assert listed.task_thresholds("BallRun") == (7.0,)


def test_overrides_replace_keys():
    assert parse_config("{name: a, seeds: 3}", "x", {"seeds": [9]}).seeds == (9,)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_load_and_come_back_from_their_dump(path):
    config = load_config(path)
    assert parse_config(dump_config(config), "dump") == config


def test_there_are_shipped_files():
    assert SHIPPED
