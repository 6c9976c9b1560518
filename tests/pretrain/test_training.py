"""Pretraining: a small real run that is stopped and resumed, its parts, and the import of RLlib checkpoints."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune.registry import register_env

from prefine_ray.cli.parser import main
from prefine_ray.convert.network import observations_for
from prefine_ray.policies.files import load_policy
from prefine_ray.policies.zoo import ZOO
from prefine_ray.pretrain.ladder import Snapshot, select_ladder
from prefine_ray.pretrain.ppo import EpisodeMeter, Penalty, build_algorithm, generalized_advantages
from prefine_ray.pretrain.recipes import RECIPES, recipe_for
from prefine_ray.pretrain.rllib import Rollout
from prefine_ray.pretrain.rllib_import import RLlibImportError, policy_from_rllib
from prefine_ray.pretrain.training import PretrainError, cost_limit, pretrain, rising_limit
from prefine_ray.simulators import make_env
from prefine_ray.simulators.vector import VectorStepper
from prefine_ray.tasks.spec import BENCHMARK, get_task

TASK = get_task("BallRun")
STEPS = 16_000


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_env("BallRun", lambda _: make_env("BallRun"))
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def stopped_and_resumed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run stopped by Ctrl-C after its first snapshot, then resumed to its end; with its state in between.

    Its start is searched for shortly, for two limits on the cost instead of eight.
    """
    folder = tmp_path_factory.mktemp("run")
    threading.Thread(target=_interrupt_after_first_snapshot, args=(folder,), daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, TASK.name, replace(recipe_for(TASK), start_limits=(80, 9), generations=2))
        with pytest.raises(KeyboardInterrupt):
            pretrain(TASK, folder, steps=STEPS, seed=3)
        (state_file,) = folder.glob("checkpoints/*/progress.json")
        state = json.loads(state_file.read_text())
        pretrain(TASK, folder, steps=STEPS, seed=3, resume=True)
    return folder, state


def _interrupt_after_first_snapshot(folder: Path) -> None:
    while not list(folder.glob("snapshots/*.safetensors")):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_stopped_run_goes_on_where_it_was(stopped_and_resumed: tuple[Path, dict[str, Any]]) -> None:
    folder, before = stopped_and_resumed
    (state_file,) = folder.glob("checkpoints/*/progress.json")
    after = json.loads(state_file.read_text())
    assert 0 < before["steps"] < STEPS <= after["steps"]
    assert after["iteration"] * before["steps"] == before["iteration"] * after["steps"]
    assert after["snapshots"][: len(before["snapshots"])] == before["snapshots"]
    assert (after["phase"], after["first_cost"]) == (2, before["first_cost"])


def test_the_ladder_holds_loadable_policies_that_say_how_they_were_made(
    stopped_and_resumed: tuple[Path, dict[str, Any]],
) -> None:
    ladder = stopped_and_resumed[0] / "ladder"
    manifest = json.loads((ladder / "manifest.json").read_text())
    assert {entry["name"] for entry in manifest["policies"]} == {path.name for path in ladder.glob("*.safetensors")}
    for entry in manifest["policies"]:
        header = load_policy(ladder / entry["name"]).header
        assert header is not None
        assert header.made_by["command"] == f"prefine pretrain --task BallRun --steps {STEPS} --seed 3"
        assert header.scores == entry["scores"]
        assert 0 <= header.scores["cost"] <= TASK.horizon


def test_a_checkpoint_of_a_run_imports_as_its_policy(stopped_and_resumed: tuple[Path, dict[str, Any]]) -> None:
    folder = stopped_and_resumed[0]
    policy = policy_from_rllib(folder)
    algorithm = build_algorithm(TASK, recipe_for(TASK), 0, 0)
    algorithm.restore_from_path(str(next(folder.glob("checkpoints/*/algorithm"))))
    observations = np.random.default_rng(0).normal(size=(5, TASK.obs_dim)).astype(np.float32)
    means = _module_means(algorithm.module, observations)
    algorithm.stop()
    np.testing.assert_allclose(policy.act(observations), means.clip(-1, 1), atol=1e-6)


def test_a_folder_with_a_run_is_not_overwritten_nor_resumed_as_another(
    stopped_and_resumed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder = stopped_and_resumed[0]
    with pytest.raises(PretrainError, match="already holds a run"):
        pretrain(TASK, folder, steps=STEPS, seed=3)
    with pytest.raises(PretrainError, match="the run has seed 3, not 4"):
        pretrain(TASK, folder, steps=STEPS, seed=4, resume=True)
    with pytest.raises(PretrainError, match="no checkpoint to resume"):
        pretrain(TASK, tmp_path, steps=STEPS, resume=True)


def test_remote_runners_sample_different_episodes() -> None:
    algorithm = build_algorithm(TASK, recipe_for(TASK), seed=0, num_workers=2)
    first, second = algorithm._sample()
    algorithm.stop()
    assert first.rewards.size + second.rewards.size == recipe_for(TASK).num_envs * recipe_for(TASK).rollout_length
    assert not np.array_equal(first.observations, second.observations)


@pytest.mark.parametrize(
    ("model", "normalized"),
    [
        (None, False),  # what RLlib makes if nothing is said
        (DefaultModelConfig(fcnet_hiddens=[16, 8], vf_share_layers=False), False),
        (DefaultModelConfig(fcnet_hiddens=[16], fcnet_activation="relu", head_fcnet_hiddens=[8]), False),
        (DefaultModelConfig(fcnet_hiddens=[16], free_log_std=True), True),
    ],
)
def test_default_ppo_checkpoints_import_with_the_same_distribution(
    model: DefaultModelConfig | None, normalized: bool, tmp_path: Path
) -> None:
    algorithm = _default_ppo(model, normalized)
    algorithm.save_to_path(str(tmp_path))
    policy = policy_from_rllib(tmp_path)
    observations = np.random.default_rng(0).normal(size=(6, TASK.obs_dim), scale=3.0).astype(np.float32)
    seen = observations
    if normalized:
        (statistics,) = algorithm.env_runner._env_to_module[0]._filters.values()
        seen = np.stack([statistics(row, update=False) for row in observations]).astype(np.float32)
    mean, log_std = _module_distribution(algorithm.get_module(), seen)
    algorithm.stop()
    ours = policy(torch.from_numpy(observations)[None])
    torch.testing.assert_close(ours[0][0], mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours[1][0], log_std, atol=1e-5, rtol=1e-4)


def test_a_plain_sac_checkpoint_is_imported_if_it_is_trusted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replay = {"type": "EpisodeReplayBuffer", "capacity": 1000}
    config = (
        SACConfig()
        .environment("BallRun")
        .env_runners(num_env_runners=0)
        .learners(num_learners=0)
        .training(
            train_batch_size_per_learner=32, num_steps_sampled_before_learning_starts=20, replay_buffer_config=replay
        )
    )
    algorithm = config.build_algo()
    algorithm.train()
    algorithm.save_to_path(str(tmp_path / "checkpoint"))
    module = algorithm.get_module()
    words = ["import", str(tmp_path / "checkpoint"), "--task", "BallRun", "-o", str(tmp_path / "p.safetensors")]
    assert main(words) == 2
    assert "RLlib's checkpoints are pickles, which are refused: unpickling runs" in capsys.readouterr().err
    assert main([*words, "--trust"]) == 0
    assert "here the tanh is kept" in capsys.readouterr().out
    policy = load_policy(tmp_path / "p.safetensors")
    observations = observations_for(policy)
    np.testing.assert_allclose(policy.act(observations), np.tanh(_module_means(module, observations)), atol=1e-5)
    algorithm.stop()


def _default_ppo(model: DefaultModelConfig | None, normalized: bool) -> Any:
    config = (
        PPOConfig()
        .environment("BallRun")
        .env_runners(num_env_runners=0)
        .learners(num_learners=0)
        .training(train_batch_size_per_learner=100, minibatch_size=50, num_epochs=1)
    )
    if model is not None:
        config.rl_module(model_config=model)
    if normalized:
        config.env_runners(env_to_module_connector=lambda *args, **kwargs: MeanStdFilter())
    algorithm = config.build_algo()
    algorithm.train()
    return algorithm


def _module_means(module: Any, observations: np.ndarray) -> np.ndarray:
    return _module_distribution(module, observations)[0].detach().numpy()


def _module_distribution(module: Any, observations: np.ndarray) -> tuple[torch.Tensor, ...]:
    return module.forward_inference({"obs": torch.from_numpy(observations)})["action_dist_inputs"].chunk(2, dim=-1)


def test_what_cannot_be_imported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RLlibImportError, match="no RLlib module here"):
        policy_from_rllib(tmp_path)
    algorithm = _default_ppo(DefaultModelConfig(fcnet_hiddens=[8], fcnet_activation="silu"), normalized=False)
    algorithm.save_to_path(str(tmp_path))
    algorithm.stop()
    with pytest.raises(RLlibImportError, match="activations are not all tanh or all relu"):
        policy_from_rllib(tmp_path)


def test_advantages_match_a_hand_computation() -> None:
    gamma, lambda_ = 0.5, 0.5
    rewards, values = np.array([[1.0], [2.0], [3.0]]), np.array([[4.0], [2.0], [6.0]])
    next_values = np.array([[2.0], [0.0], [8.0]])  # terminated after the second step
    advantages = generalized_advantages(
        rewards, values, next_values, np.array([[False], [True], [False]]), gamma, lambda_
    )
    # deltas: 1 + 1 - 4 = -2;  2 + 0 - 2 = 0;  3 + 4 - 6 = 1
    np.testing.assert_allclose(advantages, [[-2.0 + 0.25 * 0.0], [0.0], [1.0]])
    running = generalized_advantages(rewards, values, next_values, np.zeros((3, 1), dtype=np.bool_), gamma, lambda_)
    np.testing.assert_allclose(running, [[-2.0 + 0.25 * 0.25], [0.25], [1.0]])


def test_episodes_are_summed_across_rollouts() -> None:
    meter = EpisodeMeter(2)
    ended = np.array([[False, True], [False, False]])
    assert meter.add(_rollout(np.array([[1.0, 2.0], [3.0, 4.0]]), ended)) == [(2.0, 1.0, 1)]
    assert meter.add(_rollout(np.array([[5.0, 6.0], [7.0, 8.0]]), ended[::-1])) == [(18.0, 3.0, 3)]


def _rollout(rewards: np.ndarray, ended: np.ndarray) -> Rollout:
    empty = np.zeros(0, dtype=np.float32)
    none, steps = np.zeros_like(ended), np.zeros(ended.shape, dtype=np.int64)
    return Rollout(empty, empty, empty, empty, empty, rewards, np.ones_like(rewards), none, ended, steps)


def test_a_penalty_leaves_the_last_steps_free() -> None:
    algorithm = build_algorithm(TASK, recipe_for(TASK), seed=0, num_workers=0)
    (rollout,) = algorithm._sample()
    assert (rollout.step_numbers == np.arange(100)[:, None]).all()  # a rollout is as long as an episode here
    plain = algorithm._advantages(rollout)[0]
    algorithm.penalty = Penalty(slope=1.0, cap=-1.0, free_from=60.0)  # every step is beyond this cap
    penalised = algorithm._advantages(rollout)[0]
    algorithm.stop()
    np.testing.assert_array_equal(penalised[60:], plain[60:])
    assert (penalised[:60] < plain[:60]).all()


@pytest.mark.parametrize(("task", "agreement"), [("BallRun", 1.0), ("BallCircle", 1.0), ("HalfCheetahVelocity", 0.9)])
def test_the_excess_is_positive_where_a_step_costs(task: str, agreement: float) -> None:
    # velocity tasks cost by the mean speed of a step, the observation has the speed at its end
    stepper, rng = VectorStepper(task, 4), np.random.default_rng(0)
    stepper.reset(itertools.count())
    same = []
    for _ in range(150):
        step = stepper.step(rng.uniform(0.2, 1.0, (4, stepper.task.act_dim)))
        same.append((recipe_for(task).excess(step.next_observations) > 0) == (step.costs > 0))
    stepper.close()
    assert np.mean(same) >= agreement


def test_the_cost_limit_falls_from_the_base_to_below_the_strictest_threshold() -> None:
    limits = [cost_limit(TASK, 95.0, share) for share in np.linspace(0.0, 1.0, 50)]
    assert limits[0] == pytest.approx(95.0)
    assert cost_limit(TASK, 95.0, 0.2) == pytest.approx(TASK.cost_max)
    assert limits[-1] == pytest.approx(2.5)
    assert cost_limit(TASK, 50.0, 0.0) == pytest.approx(50.0)
    assert cost_limit(TASK, 0.0, 0.5) == pytest.approx(2.5)
    assert all(a >= b for a, b in itertools.pairwise(limits))
    assert cost_limit(TASK, 50.0, 1.0, last_limit=0.5) == pytest.approx(5.0)


def test_the_limit_of_a_sprint_stays_low_and_rises_to_the_largest_cost_of_the_data() -> None:
    limits = [rising_limit(TASK, share, 0.5) for share in np.linspace(0.0, 1.0, 50)]
    assert limits[0] == rising_limit(TASK, 0.2, 0.5) == pytest.approx(5.0)
    assert limits[-1] == pytest.approx(TASK.cost_max)
    assert all(a <= b for a, b in itertools.pairwise(limits))


def test_the_ladder_keeps_the_base_and_the_best_under_each_limit() -> None:
    places = [(1, 800, 60), (1, 1600, 90), (2, 900, 35), (2, 700, 35), (2, 800, 15), (2, 500, 5), (2, 510, 5.1)]
    snapshots = [
        Snapshot(f"{number}", {"phase": phase}, {"return": float(returns), "cost": float(cost)})
        for number, (phase, returns, cost) in enumerate(places)
    ]
    assert [int(snapshot.name) for snapshot in select_ladder(TASK, snapshots, size=4)] == [1, 2, 4, 6]
    assert [int(snapshot.name) for snapshot in select_ladder(TASK, snapshots, size=6)] == [0, 1, 2, 3, 4, 6]
    assert len(select_ladder(TASK, snapshots, size=20)) == len(snapshots)


@pytest.mark.parametrize("task", BENCHMARK)
def test_shipped_behaviours_are_as_their_manifest_says_and_reach_from_safe_to_unsafe(task: str) -> None:
    folder = ZOO / task
    entries = json.loads((folder / "manifest.json").read_text())["policies"]
    others = {"base.safetensors", "finetuned.safetensors"}
    assert {entry["name"] for entry in entries} == {path.name for path in folder.glob("*.safetensors")} - others
    for entry in entries:
        header = load_policy(folder / entry["name"]).header
        assert header is not None
        assert (header.task, header.scores, header.made_by) == (task, entry["scores"], entry["made_by"])
    costs = [entry["scores"]["cost"] for entry in entries]
    assert min(costs) <= get_task(task).middle_threshold
    assert max(costs) > get_task(task).thresholds[-1]
