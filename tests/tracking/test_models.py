"""What MLflow's users find beside the rows: models, inputs, settings, conditions, system metrics; and TensorBoard's."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from prefine_ray.policies.files import save_policy
from prefine_ray.policies.gaussian import PolicyHeader
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tracking.models import Headline, model_name
from prefine_ray.tracking.tensorboard import write_events
from prefine_ray.tracking.tracker import Tracker
from tests.makers import small_policy
from tests.mlflow_store import CURVE_STEPS, Store, episodes, identity, write_failed, write_pack

PICKED = {"task": "BallRun", "preferred": "best-8", "threshold": 20.0, "weight": 5.0, "cell": "a", "safety": "safe"}
SETTINGS = {"steps": 500, "beta": 0.1, "advanced": {"hidden": [32, 32], "alpha": None}}
LOAD = """
import sys
import mlflow, numpy
mlflow.set_tracking_uri(sys.argv[1])
numpy.save(sys.argv[4], mlflow.pyfunc.load_model(sys.argv[2]).predict(numpy.load(sys.argv[3])))
heavy = {"ray", "pybullet", "mujoco", "safety_gymnasium", "gymnasium"} & set(sys.modules)
assert not heavy, heavy
"""


def save(results: ResultsDir, cell: str, seed: int) -> None:
    made_by = {"data_digest": "0123456789abcdef", "settings": SETTINGS, "base_digest": "feed"}
    save_policy(small_policy(seed=seed), results.policy_path(cell), PolicyHeader("BallRun", made_by))


def write_headline(results: ResultsDir) -> None:
    results.tables_folder.mkdir(exist_ok=True)
    results.headline_path.write_text(json.dumps({"values": {"safe_tasks": 1.0}, "policies": [PICKED]}))


@pytest.fixture
def ended(results: ResultsDir, uri: str) -> Tracker:
    """A sweep of two cells that has ended and was sent."""
    write_pack(results, "p", ["a", "b"])
    save(results, "a", seed=1)
    write_headline(results)
    tracker = Tracker(results, "quick", uri)
    tracker.start("name: quick\nfinetune: {steps: 500, advanced: {segment: 4}}\ntasks: [BallRun]\n")
    tracker.finish("FINISHED")
    return tracker


def models_of(store: Store) -> list:
    experiment = store.parent.info.experiment_id
    return list(store.client.search_logged_models([experiment]))


def test_a_picked_policy_loads_in_a_process_without_ray_and_simulators(ended: Tracker, uri: str, tmp_path: Path):
    store = Store(uri, ended.results)
    (model,) = models_of(store)
    assert (model.name, model.status) == ("BallRun-best-8-20", "READY")
    assert model.source_run_id == store.children["a"].info.run_id
    assert model.params["safety"] == "safe"
    observations = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    given, made = tmp_path / "given.npy", tmp_path / "made.npy"
    np.save(given, observations)
    command = [sys.executable, "-c", LOAD, uri, f"models:/{model.model_id}", str(given), str(made)]
    subprocess.run(command, check=True, timeout=300)
    np.testing.assert_array_equal(np.load(made), small_policy(seed=1).predict(observations)[0])


def test_no_file_of_a_model_is_a_pickle(ended: Tracker, uri: str, tmp_path: Path):
    files = sorted(path.name for path in (tmp_path / "artifacts" / "models").rglob("*") if path.is_file())
    assert "a.safetensors" in files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pt", ".pth"))]


def test_a_second_sync_makes_no_second_model_and_another_policy_replaces_it(ended: Tracker, uri: str):
    store = Store(uri, ended.results)
    (first,) = models_of(store)
    ended.finish("FINISHED")
    assert [model.model_id for model in models_of(store)] == [first.model_id]
    save(ended.results, "a", seed=2)
    ended.finish("FINISHED")
    (second,) = models_of(store)
    assert second.model_id != first.model_id


def test_a_half_made_model_is_made_again(ended: Tracker, uri: str):
    store = Store(uri, ended.results)
    (first,) = models_of(store)
    store.client.delete_logged_model(first.model_id)
    half = store.client.create_logged_model(
        store.parent.info.experiment_id, model_name(PICKED), first.source_run_id, tags={"prefine.cell": "a"}
    )
    ended.finish("FINISHED")
    (again,) = models_of(store)
    assert again.status == "READY"
    assert again.model_id != half.model_id


def test_models_are_registered_once(ended: Tracker, uri: str):
    assert ended.register("safe") == ["safe-BallRun-best-8-20 version 1"]
    assert ended.register("safe") == ["safe-BallRun-best-8-20 version 1"]
    save(ended.results, "a", seed=2)
    ended.finish("FINISHED")
    assert ended.register("safe") == ["safe-BallRun-best-8-20 version 2"]
    (model,) = models_of(store := Store(uri, ended.results))
    versions = store.client.search_model_versions("name = 'safe-BallRun-best-8-20'")
    assert len({version.source for version in versions}) == 2
    assert model.artifact_location in {version.source for version in versions}


def test_a_policy_without_its_file_is_no_model(results: ResultsDir):
    results.tables_folder.mkdir(parents=True)
    write_headline(results)
    assert Headline.read(results) == Headline({"safe_tasks": 1.0}, [])
    results.headline_path.write_text("{")
    assert Headline.read(results) == Headline({}, [])


def test_the_parent_has_headline_and_settings(ended: Tracker, uri: str):
    parent = Store(uri, ended.results).parent
    assert parent.data.metrics["safe_tasks"] == 1.0
    assert parent.data.params["finetune.advanced.segment"] == "4"
    assert parent.data.tags["mlflow.source.name"] == "prefine"
    assert "mlflow.user" in parent.data.tags


def test_a_grown_configuration_adds_parameters_and_keeps_the_first_values(ended: Tracker, uri: str):
    ended.start("name: quick\nfinetune: {steps: 900, beta: 0.2}\n")
    params = Store(uri, ended.results).parent.data.params
    assert (params["finetune.steps"], params["finetune.beta"]) == ("500", "0.2")


def test_a_cell_has_its_settings_and_its_data(ended: Tracker, uri: str):
    child = Store(uri, ended.results).children["a"]
    assert child.data.params["advanced.hidden"] == "[32, 32]"
    assert "advanced.alpha" not in child.data.params
    assert child.data.params["base_digest"] == "feed"
    (given,) = child.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("BallRun", "0123456789abcdef")
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]


def test_rows_under_a_condition_are_added_to_runs_that_have_ended(ended: Tracker, uri: str):
    store = Store(uri, ended.results)
    before = {cell: run.info.run_id for cell, run in store.children.items()}
    rows = pd.concat([episodes(identity(cell, seed=seed), [50.0, 10.0]) for seed, cell in enumerate("ab")])
    ended.results.write_conditions("p", "reused", rows.assign(stage="finetuned-reused"))
    assert ended.sync().logged == 2
    children = store.children
    assert {cell: run.info.run_id for cell, run in children.items()} == before
    metrics = children["b"].data.metrics
    assert (metrics["reused/violation_rate"], metrics["violation_rate"]) == (0.5, 0.5)
    assert (metrics["reused/mean_cost"], metrics["mean_cost"]) == (30.0, 26.25)
    assert ended.sync().logged == 0


def test_system_metrics_are_on_the_parent_if_mlflows_switch_is_on(
    results: ResultsDir, uri: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    tracker = Tracker(results, "quick", uri)
    tracker.start("name: quick\n")
    deadline = time.monotonic() + 60
    while "system/cpu_utilization_percentage" not in (metrics := Store(uri, results).parent.data.metrics):
        assert time.monotonic() < deadline, metrics
        time.sleep(0.2)
    tracker.finish("FINISHED")
    assert Store(uri, results).parent.info.status == "FINISHED"


# ---------------------------------------------------------------------- TensorBoard


def read_events(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_tensorboard_reads_curves_and_evaluation(results: ResultsDir):
    write_pack(results, "p", ["a", "b"])
    write_failed(results, "q", "c")
    assert write_events(results) == 2
    folders = sorted((results.tensorboard_folder / "BallRun").iterdir())
    assert [folder.name for folder in folders] == [
        "BallRun prefine seed 0 (best, 20, w=5) a",
        "BallRun prefine seed 1 (best, 20, w=5) b",
    ]
    events = read_events(folders[0])
    assert [point.step for point in events.Scalars("loss")] == list(CURVE_STEPS)
    assert [point.value for point in events.Scalars("mean_cost")] == [26.25]


def test_events_are_written_once_and_again_when_a_part_changes(results: ResultsDir):
    write_pack(results, "p", ["a"])
    assert write_events(results) == 1
    assert write_events(results) == 0
    write_pack(results, "p", ["a", "b"])
    assert write_events(results) == 2
    assert len(list((results.tensorboard_folder / "BallRun").iterdir())) == 2


def test_names_of_models_have_no_letter_that_mlflow_refuses():
    odd = {**PICKED, "preferred": "best-8-0.1/likely:50%", "threshold": 2.5}
    assert model_name(odd) == "BallRun-best-8-0_1_likely_50_-2_5"
