from __future__ import annotations

import json

import numpy as np
import pytest

from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.methods.base import base_policy, best_unsafe_episodes
from prefine_ray.policies.files import PolicyFileError
from prefine_ray.rollouts.collection import (
    REWARD_MARGIN,
    UNIT_EPISODES,
    DataConfig,
    NoBehavioursError,
    assemble,
    behaviours,
    choose_episodes,
    plan_units,
    recipe_digest,
)
from prefine_ray.rollouts.rollout import run_unit
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import BENCHMARK, get_task

TASK = get_task("BallRun")


@pytest.mark.parametrize("name", BENCHMARK)
def test_every_task_ships_behaviours_inside_the_envelope(name):
    task = get_task(name)
    for behaviour in behaviours(task, "zoo"):
        assert behaviour.path.is_file()
        assert behaviour.mean_cost <= task.cost_max


def test_missing_and_unusable_ladders_are_errors(tmp_path):
    with pytest.raises(NoBehavioursError, match="prefine pretrain --task BallRun"):
        behaviours(TASK, str(tmp_path))
    entry = {"name": "a.safetensors", "scores": {"return": 100.0, "cost": 99.0}}
    (tmp_path / "manifest.json").write_text(json.dumps({"policies": [entry]}))
    with pytest.raises(NoBehavioursError, match="beyond the envelope"):
        behaviours(TASK, str(tmp_path))


def test_a_task_without_shipped_policies_says_what_it_can_take():
    task = get_task("PointGoal1")
    with pytest.raises(
        NoBehavioursError, match=r"data.source: no behaviours of PointGoal1 are shipped; name dsrl \(.*2022"
    ):
        behaviours(task, "zoo")
    with pytest.raises(PolicyFileError, match="base: no policy of PointGoal1 is shipped; write base: clone"):
        base_policy(task, "zoo")


def test_units_cover_the_episodes_with_seeds_of_their_own():
    chosen = behaviours(TASK, "zoo")
    units = plan_units(TASK, DataConfig(episodes=100), chosen)
    seeds = np.concatenate([unit.seeds for unit in units])
    assert len(seeds) >= 100
    assert len(set(seeds)) == len(seeds)
    assert {len(unit.seeds) for unit in units} == {UNIT_EPISODES}
    assert recipe_digest(TASK, DataConfig(seed=1), chosen) != recipe_digest(TASK, DataConfig(seed=0), chosen)


def test_collected_data_is_inside_the_envelope_and_repeats():
    chosen, config = behaviours(TASK, "zoo")[:3], DataConfig(episodes=20)
    units = plan_units(TASK, config, chosen)
    stepper = VectorStepper(TASK, UNIT_EPISODES)
    first, again = (assemble(TASK, config, [run_unit(u, stepper) for u in units], len(chosen)) for _ in range(2))
    stepper.close()
    assert len(first) == 20
    assert first.episode_costs.max() <= TASK.cost_max
    assert TASK.normalized_reward(first.returns).max() <= REWARD_MARGIN
    assert first.seeds is not None
    assert (first.actions == again.actions).all()


def test_choice_of_episodes_keeps_the_shares_of_the_cost_bands():
    rng = np.random.default_rng(0)
    returns, costs = rng.uniform(100, 1300, 4000), rng.uniform(0, 100, 4000)
    chosen = choose_episodes(TASK, returns, costs, 200)
    assert len(set(chosen)) == 200
    assert costs[chosen].max() <= TASK.cost_max
    bands = np.bincount(np.searchsorted(TASK.thresholds, costs[chosen], side="left"))
    assert bands.tolist() == pytest.approx([80, 20, 30, 70], abs=2)


def test_base_imitates_the_best_of_the_unsafe():
    costs, returns = np.array([0.0] * 80 + [50.0] * 20), np.arange(100.0)
    table = EpisodeSummary(np.arange(100), np.ones(100, int), returns, costs, np.zeros(100, bool))
    assert best_unsafe_episodes(table, TASK).tolist() == list(range(80, 100))
    safe = EpisodeSummary(np.arange(100), np.ones(100, int), returns, np.zeros(100), np.zeros(100, bool))
    assert best_unsafe_episodes(safe, TASK).tolist() == list(range(80, 100))  # the best of all
