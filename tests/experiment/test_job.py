"""From cells to trained populations without Ray, for every method, and the check of the inputs before."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from prefine_ray.core.files import file_digest
from prefine_ray.data.hdf5 import read_summary, write_dsrl
from prefine_ray.data.judgement_files import LabelFileError
from prefine_ray.data.preferences import NotEnoughTrajectoriesError
from prefine_ray.experiment.cells import make_cells, make_packs
from prefine_ray.experiment.config import SweepConfig, make_config
from prefine_ray.experiment.job import (
    CurveRecorder,
    TrainingJob,
    check_inputs,
    load_trajectories,
    make_learner,
    make_members,
    policy_header,
    trajectory_sets,
    trial_rows,
)
from prefine_ray.experiment.replicates import TaskInputs, shared_inputs
from prefine_ray.methods.base import clone_base
from prefine_ray.methods.gaussian_cloning import CloneConfig
from prefine_ray.methods.selection import mean_log_probs
from prefine_ray.policies.files import load_policy, save_policy
from prefine_ray.policies.gaussian import PolicyHeader
from prefine_ray.tasks.spec import get_task
from tests.makers import ball_run_episodes, small_policy

METHODS = ("prefine", "prefine_pairs", "sft", "bc_all", "bc_safe", "cpl", "trac")
SHORT = {"steps": 6, "batch_size": 8, "advanced": {"hidden": [16, 16], "log_every": 3}}
SEGMENTS = {**SHORT, "bc_steps": 3, "segment": 4, "warmup_steps": 2}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TaskInputs]:
    """Eight episodes on BallRun and a random base policy."""
    folder = tmp_path_factory.mktemp("inputs")
    write_dsrl(folder / "data.hdf5", ball_run_episodes())
    save_policy(small_policy(), folder / "base.safetensors", PolicyHeader("BallRun"))
    data, base = folder / "data.hdf5", folder / "base.safetensors"
    return {"BallRun": shared_inputs(str(data), file_digest(data), str(base), file_digest(base))}


@pytest.fixture(scope="module")
def threshold(inputs: dict[str, TaskInputs]) -> float:
    """A threshold with three safe episodes or more, and two unsafe ones or more."""
    costs = np.sort(read_summary(inputs["BallRun"].common.data_path).costs)
    split = next(k for k in range(3, 7) if costs[k - 1] < costs[k])
    return float(costs[split - 1])


def config(threshold: float, **changes) -> SweepConfig:
    settings = {
        "name": "job",
        "tasks": ["BallRun"],
        "methods": METHODS,
        "weights": [0, 5],
        "seeds": 2,
        "thresholds": [threshold],
        "preferences": {"num_preferred": 3, "num_dispreferred": 2},
        "finetune": {"steps": 6, "batch_size": 8, "advanced": {"log_every": 3}},
        "bc": SHORT,
        "cpl": SEGMENTS,
        "trac": SEGMENTS,
    }
    return make_config(**{**settings, **changes})


def members_of(job: TrainingJob):
    """The job's trajectories and members."""
    trajectories, sets = load_trajectories(job)
    return trajectories, make_members(job, trajectories, sets)


def test_every_method_trains_its_packs(inputs, threshold):
    sweep = config(threshold)
    packs = make_packs(make_cells(sweep, inputs), set())
    counts = [Counter(cell.method for cell in pack.cells) for pack in packs]
    assert counts == [
        {"prefine": 4, "sft": 2},
        {"prefine_pairs": 4},
        {"bc_all": 2, "bc_safe": 2},
        {"cpl": 2},
        {"trac": 2},
    ]
    for pack in packs:
        job = TrainingJob(pack, inputs["BallRun"])
        learner, recorder = make_learner(job), CurveRecorder(pack)
        learner.train(job.pack.settings.steps, recorder)
        rows = trial_rows(job, recorder.frame(), learner.policies(), 1.0)
        assert set(rows["status"]) == {"finished"}
        assert set(rows["steps"]) == {6}
        assert rows["loss"].notna().all()
        assert recorder.frame()["step"].unique().tolist() == [0, 3, 5]
        header = policy_header(job, pack.cells[0])
        assert header.made_by["settings"]["steps"] == 6
        assert ("base" in header.made_by) == (pack.method.name in ("prefine", "prefine_pairs"))
        policies = learner.policies()
        seeds = [policies.select(index).act(ball_run_episodes().observations[:9]) for index in range(len(pack.cells))]
        assert not np.allclose(seeds[0], seeds[1])


def test_methods_train_on_the_trajectories_they_should(inputs, threshold):
    summary = read_summary(inputs["BallRun"].common.data_path)
    sweep = config(threshold)
    sets = {cell.method: trajectory_sets(cell, summary) for cell in make_cells(sweep, inputs)}
    assert sets["bc_all"].preferred.tolist() == list(range(8))
    assert sets["bc_safe"].preferred.tolist() == np.flatnonzero(summary.costs <= threshold).tolist()
    for method in ("bc_all", "bc_safe"):
        assert len(sets[method].dispreferred) == 0
    for method in ("sft", "cpl", "trac"):
        assert sets[method].preferred.tolist() == sets["prefine"].preferred.tolist()
        assert sets[method].dispreferred.tolist() == sets["prefine"].dispreferred.tolist()


def test_numbers_of_preferred_and_label_noise_share_a_pack(inputs, threshold):
    preferences = {"num_preferred": [1, 3], "num_dispreferred": 2, "label_noise": [0, 0.5]}
    sweep = config(threshold, methods=["trac"], seeds=1, preferences=preferences)
    (pack,) = make_packs(make_cells(sweep, inputs), set())
    _, members = members_of(TrainingJob(pack, inputs["BallRun"]))
    assert [len(member.preferred) for member in members] == [1, 1, 3, 3]
    assert [cell.axes["label_noise"] for cell in pack.cells] == [0.0, 0.5, 0.0, 0.5]
    assert len({member.seed for member in members}) == 1


def test_clones_of_all_and_of_the_best_unsafe(inputs):
    short = CloneConfig(steps=2, hidden=(8,))
    for choice, episodes in (("bc_all", 8), ("clone", 2)):
        policy, header = clone_base(get_task("BallRun"), inputs["BallRun"].common.data_path, 0, short, choice)
        assert header.made_by["episodes"] == episodes
        assert all(torch.isfinite(value).all() for value in policy.state_dict().values())


def test_too_few_trajectories_are_found_at_once(inputs, threshold):
    check_inputs(make_cells(config(threshold), inputs), inputs)
    bad = config(threshold, thresholds=[threshold, 999], preferences={"num_preferred": [3, 50], "num_dispreferred": 2})
    with pytest.raises(NotEnoughTrajectoriesError) as caught:
        check_inputs(make_cells(bad, inputs), inputs)
    message = str(caught.value)
    for part in (
        f"BallRun, threshold {threshold:g}: 50 safe trajectories",
        "BallRun, threshold 999: 3 safe trajectories (cost <= threshold) and 2 unsafe ones are needed, the data has 8",
        "Thresholds that work: at least",
        "ask for fewer",
        "preferences.num_preferred",
        "prefine data describe --task BallRun",
    ):
        assert part in message
    assert message.count("threshold 999: 3 safe") == 1  # not once per seed, weight and method


def test_too_long_segments_and_nothing_to_imitate_are_found_at_once(inputs, threshold, tmp_path: Path):
    episodes = ball_run_episodes()
    write_dsrl(tmp_path / "costly.hdf5", episodes.select(np.flatnonzero(episodes.episode_costs > 0)))
    costly = {"BallRun": TaskInputs(common=replace(inputs["BallRun"].common, data_path=str(tmp_path / "costly.hdf5")))}
    with pytest.raises(NotEnoughTrajectoriesError, match="no trajectory of 101 steps, as cpl needs"):
        check_inputs(make_cells(config(threshold, cpl={**SEGMENTS, "segment": 101}), inputs), inputs)
    with pytest.raises(NotEnoughTrajectoriesError, match="threshold 0: no trajectory under the threshold to imitate"):
        check_inputs(make_cells(config(threshold, methods=["bc_safe"], thresholds=[0]), costly), costly)
    check_inputs(make_cells(config(threshold, methods=["bc_all"], thresholds=[0]), costly), costly)


def test_a_bad_file_of_labels_is_found_at_once(inputs, threshold, tmp_path: Path):
    (tmp_path / "labels.csv").write_text("trajectory,label\n99,preferred\n")
    labels = {"labels": str(tmp_path / "labels.csv")}
    labelled = config(threshold, preferred=["labels"], preferences=labels, data={"draws": "shared"})
    with pytest.raises(LabelFileError, match="trajectory 99"):
        check_inputs(make_cells(labelled, inputs), inputs)


def test_pairs_that_people_gave_are_trained_on_as_pairs_or_as_sides(inputs, threshold, tmp_path: Path):
    (tmp_path / "pairs.csv").write_text("better,worse,tie\n4,6,0\n1,6,0\n6,4,0\n2,3,1\n")
    pairs = {"labels": str(tmp_path / "pairs.csv")}
    shared = {"preferred": ["labels"], "preferences": pairs, "data": {"draws": "shared"}, "weights": [0, 5]}
    sweep = config(threshold, methods=["prefine", "prefine_pairs"], **shared)
    cells = make_cells(sweep, inputs)
    check_inputs(cells, inputs)
    for pack in make_packs(cells, set()):
        job = TrainingJob(pack, inputs["BallRun"])
        trajectories, sets = load_trajectories(job)
        known = {steps.tobytes(): number for number, steps in enumerate(_actions(ball_run_episodes()))}
        better, worse = ([known[_actions(trajectories)[k].tobytes()] for k in side] for side in vars(sets[0]).values())
        if pack.method.on_pairs:
            assert (better, worse) == ([4, 1, 6], [6, 6, 4])
        else:
            assert (better, worse) == ([1], [6])  # a third of the five that were compared, by score
        make_learner(job).train(3)


def _actions(trajectories) -> list[np.ndarray]:
    return np.split(trajectories.actions, trajectories.starts[1:])


def test_curves_of_a_cut_training_resume(inputs, threshold):
    sweep = config(threshold, methods=["trac"])
    (pack,) = make_packs(make_cells(sweep, inputs), set())
    job = TrainingJob(pack, inputs["BallRun"])
    whole, cut = CurveRecorder(pack), CurveRecorder(pack)
    make_learner(job).train(6, whole)
    first = make_learner(job)
    first.train(4, cut)
    second, resumed = make_learner(job), CurveRecorder(pack)
    second.load_state_dict(first.state_dict())
    resumed.restore(cut.frame())
    second.train(6, resumed)
    pd.testing.assert_frame_equal(resumed.frame(), whole.frame())


def test_selection_takes_the_preferred_trajectories_that_the_base_finds_likeliest(inputs, threshold):
    def selected(selection, method: str = "prefine"):
        sweep = config(threshold, selection=selection)
        pack = next(p for p in make_packs(make_cells(sweep, inputs), set()) if method in {c.method for c in p.cells})
        trajectories, members = members_of(TrainingJob(pack, inputs["BallRun"]))
        return trajectories, [m for c, m in zip(pack.cells, members, strict=True) if c.method == method]

    trajectories, everything = selected("none")
    taken = selected({"rule": "likely", "share": 0.4})[1]
    likelihood = mean_log_probs(load_policy(inputs["BallRun"].common.base_path), trajectories)[0]
    for whole, part in zip(everything, taken, strict=True):
        assert len(part.preferred) == int(np.ceil(0.4 * len(whole.preferred)))
        left_out = np.setdiff1d(whole.preferred, part.preferred)
        assert likelihood[part.preferred].min() >= likelihood[left_out].max()
        assert np.array_equal(whole.dispreferred, part.dispreferred)
    for method in ("sft", "trac"):  # the other methods train on all
        for whole, same in zip(selected("none", method)[1], selected("likely", method)[1], strict=True):
            assert np.array_equal(whole.preferred, same.preferred)


def test_the_weight_selects_nothing(inputs, threshold):
    sweep = config(threshold, methods=["prefine"], weights=[0, 1, 50], selection=["none", "likely"], seeds=1)
    (pack,) = make_packs(make_cells(sweep, inputs), set())
    _, members = members_of(TrainingJob(pack, inputs["BallRun"]))
    by_selection: dict[str, set[tuple[int, ...]]] = {}
    for cell, member in zip(pack.cells, members, strict=True):
        by_selection.setdefault(str(cell.axes["selection"]), set()).add(tuple(member.preferred.tolist()))
    assert {name: len(sets) for name, sets in by_selection.items()} == {"none": 1, "likely 0.5": 1}
    assert by_selection["none"] != by_selection["likely 0.5"]


def test_sft_is_weight_0_on_all_preferred_trajectories(inputs, threshold):
    finetune = {"steps": 6, "batch_size": 8}
    policies = []
    for methods in (["prefine"], ["sft"], ["prefine", "sft"]):
        sweep = config(threshold, methods=methods, weights=[0], seeds=1, finetune=finetune)
        (pack,) = make_packs(make_cells(sweep, inputs), set())
        learner = make_learner(TrainingJob(pack, inputs["BallRun"]))
        learner.train(6)
        policies += [learner.policies().select(index).state_dict() for index in range(len(pack.cells))]
    assert all(torch.equal(policies[0][name], other[name]) for other in policies[1:] for name in other)
