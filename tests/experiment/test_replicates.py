"""Replicates: own, overlapping and shared draws of the data, and populations with several data sets and bases."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from prefine_ray.core.files import file_digest
from prefine_ray.data.hdf5 import read_summary, write_dsrl
from prefine_ray.experiment.cells import make_cells, make_packs
from prefine_ray.experiment.config import SweepConfig, make_config
from prefine_ray.experiment.job import TrainingJob, load_trajectories, make_learner, make_members
from prefine_ray.experiment.replicates import (
    ReplicateInputs,
    TaskInputs,
    draw_from_set,
    draws_from_file,
    recipes,
    shared_inputs,
)
from prefine_ray.methods.population import Member
from prefine_ray.methods.prefine.learner import PrefineLearner
from prefine_ray.methods.prefine.settings import FineTuneSettings
from prefine_ray.policies.files import load_policy, save_policy
from prefine_ray.policies.gaussian import PolicyHeader, stack
from prefine_ray.rollouts.collection import DataConfig
from tests.makers import ball_run_episodes, small_policy

SEEDS, TUNING = (0, 1, 2), (1000, 1001)


def test_own_draws_are_rolled_out_with_seeds_of_their_own():
    found = recipes(DataConfig(draws="own"), SEEDS, TUNING)
    assert set(found) == {*SEEDS, *TUNING}
    assert len({recipe.seed for recipe in found.values()}) == 5
    assert found[1] == recipes(DataConfig(draws="own"), (1, 2, 3, 4), ())[1], "more seeds leave the others as they are"
    assert found[1] != recipes(DataConfig(draws="own", seed=1), SEEDS, TUNING)[1]


def test_overlapping_draws_come_from_one_set_and_tuning_draws_from_another():
    data = DataConfig(draws="overlapping")
    found = recipes(data, SEEDS, TUNING)
    assert {found[seed] for seed in SEEDS} == {data}
    assert found[1000] == found[1001] != data
    draws = [draw_from_set(data, "BallRun", seed, 300) for seed in SEEDS]
    assert {len(draw) for draw in draws} == {200}
    assert len(set(draws)) == 3
    assert all(list(draw) == sorted(set(draw)) for draw in draws)


def test_shared_draws_are_the_whole_set():
    data = DataConfig(draws="shared")
    assert set(recipes(data, SEEDS, TUNING).values()) == {data}
    assert draw_from_set(data, "BallRun", 0, 300) is None
    assert set(draws_from_file(data, "BallRun", 300, SEEDS, TUNING).values()) == {None}


@pytest.mark.parametrize(("total", "size"), [(300, 50), (100, 20)])
def test_parts_of_a_file_are_disjoint_and_of_equal_size(total: int, size: int):
    parts = draws_from_file(DataConfig(draws="own", episodes=50), "BallRun", total, SEEDS, TUNING)
    assert {len(part) for part in parts.values()} == {size}
    assert all(not {*one} & {*other} for one, other in combinations(parts.values(), 2))


def test_more_seeds_leave_the_parts_of_a_file_as_they_are():
    data = DataConfig(draws="own", episodes=50)
    few, more = (draws_from_file(data, "BallRun", 1000, seeds, TUNING) for seeds in (SEEDS, (*SEEDS, 3)))
    assert {seed: more[seed] for seed in few} == few


def test_tuning_draws_of_a_file_share_no_episode_with_reported_ones():
    parts = draws_from_file(DataConfig(draws="overlapping"), "BallRun", 300, SEEDS, TUNING)
    reported, tuning = (set().union(*(parts[seed] for seed in seeds)) for seeds in (SEEDS, TUNING))
    assert not reported & tuning
    assert {len(part) for part in parts.values()} == {100}


# ---------------------------------------------------------------------- jobs


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Two data sets and two base policies with their digests."""
    folder = tmp_path_factory.mktemp("replicates")
    whole = ball_run_episodes()
    write_dsrl(folder / "first.hdf5", whole)
    write_dsrl(folder / "second.hdf5", whole.select(np.arange(len(whole))[::-1]))
    for number in range(2):
        save_policy(small_policy(seed=number), folder / f"base{number}.safetensors", PolicyHeader("BallRun"))
    return {path.stem: (str(path), file_digest(path)) for path in sorted(folder.iterdir())}


def own(files: dict[str, tuple[str, str]], data: str, base: str, episodes: tuple[int, ...] | None = None):
    return ReplicateInputs(*files[data], *files[base], episodes)


def config(threshold: float, **changes) -> SweepConfig:
    settings = {
        "name": "replicates",
        "tasks": ["BallRun"],
        "weights": [0, 5],
        "seeds": 2,
        "thresholds": [threshold],
        "selection": "likely",
        "preferences": {"num_preferred": 2, "num_dispreferred": 1},
        "finetune": {
            "steps": 6,
            "batch_size": 8,
            "advanced": {"log_every": 3, "refresh_every": 3, "checkpoint_every": 3},
        },
    }
    return make_config(**{**settings, **changes})


def threshold_of(path: str) -> float:
    """A threshold with several safe episodes and several unsafe ones."""
    return float(np.sort(read_summary(path).costs)[4])


def trained(job: TrainingJob) -> dict[str, dict[str, np.ndarray]]:
    """The weights of every cell's policy after training."""
    learner = make_learner(job)
    learner.train(job.pack.settings.steps)
    policies = learner.policies()
    states = [policies.select(index).state_dict() for index in range(len(job.pack.cells))]
    return {
        cell.name: {name: value.numpy() for name, value in state.items()}
        for cell, state in zip(job.pack.cells, states, strict=True)
    }


@pytest.mark.parametrize("counterfactuals", ["learner", "actors", "closed_loop"])
@pytest.mark.parametrize("second", ["second", "first"])  # another file; another base for the same file
def test_replicates_that_train_together_end_as_each_alone(files, counterfactuals: str, second: str):
    sweep = config(threshold_of(files["first"][0]), counterfactuals=counterfactuals)
    inputs = {"BallRun": TaskInputs({0: own(files, "first", "base0"), 1: own(files, second, "base1")}, own_base=True)}
    cells = make_cells(sweep, inputs)
    (together,) = make_packs(cells, set())
    alone = [make_packs([cell for cell in cells if cell.seed == seed], set())[0] for seed in (0, 1)]
    assert [len(pack.cells) for pack in (together, *alone)] == [4, 2, 2]
    both = trained(TrainingJob(together, inputs["BallRun"]))
    for pack in alone:
        for name, state in trained(TrainingJob(pack, inputs["BallRun"])).items():
            for key, value in state.items():
                np.testing.assert_array_equal(value, both[name][key], err_msg=key)


def test_a_replicate_starts_from_its_own_base_and_episodes(files):
    threshold, drawn = threshold_of(files["first"][0]), (0, 1, 2, 3, 4, 6, 7)
    inputs = TaskInputs({0: own(files, "first", "base0", drawn), 1: own(files, "first", "base1")})
    (pack,) = make_packs(make_cells(config(threshold, selection="none"), {"BallRun": inputs}), set())
    job = TrainingJob(pack, inputs)
    learner = make_learner(job)
    bases = [load_policy(files[f"base{cell.seed}"][0]) for cell in pack.cells]
    for name, value in stack(bases).state_dict().items():
        np.testing.assert_array_equal(value.numpy(), learner.policy.state_dict()[name].numpy())
    trajectories, sets = load_trajectories(job)
    whole = ball_run_episodes()
    allowed = {whole.select([number]).observations.tobytes() for number in drawn}
    for cell, one in zip(pack.cells, sets, strict=True):
        found = {trajectories.select([n]).observations.tobytes() for n in (*one.preferred, *one.dispreferred)}
        assert len(found) == 3
        assert cell.seed == 1 or found <= allowed
    assert [member.base for member in make_members(job, trajectories, sets)] == [cell.seed for cell in pack.cells]


def test_the_draw_and_the_base_are_part_of_a_cells_name(files):
    of = config(threshold_of(files["first"][0]), seeds=1)
    first = own(files, "first", "base0")
    drawn = [replace(first, episodes=(0, 1, last)) for last in (2, 3)]
    others = [first, *drawn, own(files, "first", "base1")]
    names = [make_cells(of, {"BallRun": TaskInputs({0: inputs})})[0].name for inputs in others]
    assert len(set(names)) == 4
    assert make_cells(of, {"BallRun": shared_inputs(*files["first"], *files["base0"])})[0].name == names[0]


def test_a_learner_refuses_an_episode_of_two_references():
    trajectories = ball_run_episodes()
    members = [Member(1.0, np.array([0, 1]), np.array([2]), 1, base) for base in (0, 1)]
    with pytest.raises(ValueError, match="share an episode"):
        PrefineLearner(stack([small_policy(), small_policy(seed=1)]), trajectories, members, FineTuneSettings())


def test_rows_say_what_of_a_replicate_is_its_own(files):
    inputs = TaskInputs({0: own(files, "first", "base0")}, draws="own", own_base=True)
    (cell, *_) = make_cells(config(threshold_of(files["first"][0]), seeds=1), {"BallRun": inputs})
    assert (cell.identity["draws"], cell.identity["own_base"]) == ("own", True)
    assert Path(inputs.files[0]).name == "first.hdf5"
