"""The pretraining algorithm: RLlib PPO on array rollouts, with a penalty on cost in the reward it maximises."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner import Learner
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import (
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from torch import Tensor

from prefine_ray.policies.gaussian import gaussian_log_prob
from prefine_ray.pretrain.recipes import Recipe
from prefine_ray.pretrain.rllib import ActorCritic, Rollout, VectorEnvRunner
from prefine_ray.tasks.spec import Task

BOUND_WEIGHT = 1.0
EPISODE_WINDOW = 48  # finished episodes that the reported return and cost are averaged over


@dataclass(frozen=True)
class Penalty:
    """What is subtracted from each step's reward: slope * max(0, excess - cap) + cost_weight * cost."""

    slope: float = 0.0
    cost_weight: float = 0.0
    cap: float = 0.0  # in the units of `Recipe.excess`: 0 is the task's limit
    free_from: float = math.inf  # step of the episode from which on nothing is subtracted


class BoundedLearner(PPOTorchLearner):
    """PPO's loss plus a pull on mean actions beyond [-1, 1].

    Actions are clipped by the simulator: without the pull, phase 1 drives means far out, where no sample is
    within the bounds and phase 2 finds no gradient.
    """

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """RLlib's loss plus the mean square of what is outside."""
        loss = cast(
            Tensor, super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        )
        means = fwd_out[Columns.ACTION_DIST_INPUTS].chunk(2, dim=-1)[0]
        return loss + BOUND_WEIGHT * torch.relu(means.abs() - 1.0).square().mean()


class EpisodeMeter:
    """Sums rewards and costs of the running episodes of N copies and keeps the finished ones."""

    def __init__(self, copies: int) -> None:
        self._sums = np.zeros((3, copies))  # return, cost, length

    def add(self, rollout: Rollout) -> list[tuple[float, float, int]]:
        """Takes in a rollout; (return, cost, length) of the episodes that ended in it."""
        finished: list[tuple[float, float, int]] = []
        ended = rollout.terminated | rollout.truncated
        for t in range(len(ended)):
            self._sums += (rollout.rewards[t], rollout.costs[t], np.ones_like(rollout.costs[t]))
            for index in np.flatnonzero(ended[t]).tolist():
                total, cost, length = self._sums[:, index].tolist()
                finished.append((total, cost, int(length)))
            self._sums[:, ended[t]] = 0.0
        return finished


class VectorPPO(PPO):
    """PPO whose runners give `Rollout` arrays; advantages are computed here, in NumPy.

    Attributes:
        module: the learner's module.
        penalty: what is subtracted from the reward; set it between calls of `train`.
        episodes: (return, cost, length) of the last finished episodes.
        steps: environment steps sampled by this object.
        cost_per_step, reward_per_step: means over the last batch.
        excess: 95th percentile of the excess over the task's limits in the last batch.
    """

    config: Any
    metrics: MetricsLogger
    learner_group: LearnerGroup
    env_runner_group: EnvRunnerGroup

    def setup(self, config: Any) -> None:
        """RLlib's construction, plus the meters."""
        torch.set_num_threads(1)
        super().setup(config)
        self.module: ActorCritic = next(iter(self.learner_group.foreach_learner(_learner_module))).get()
        self.penalty = Penalty()
        self.recipe: Recipe = self.config.env_config["recipe"]
        self.episodes: deque[tuple[float, float, int]] = deque(maxlen=EPISODE_WINDOW)
        self.steps = 0
        self.cost_per_step = self.reward_per_step = self.excess = 0.0
        runners = max(1, self.config.num_env_runners)
        self._meters = [EpisodeMeter(self.config.env_config["num_envs"]) for _ in range(runners)]

    def training_step(self) -> None:
        """One iteration: sample, learn, update the normalisations, send the weights out."""
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            rollouts = self._sample()
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            batch = self._train_batch(rollouts)
            results = self.learner_group.update(
                batch=MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(batch)}, env_steps=len(batch[Columns.OBS])),
                timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: self.steps},
                num_epochs=self.config.num_epochs,
                minibatch_size=self.config.minibatch_size,
                shuffle_batch_per_epoch=True,
            )
            self.metrics.aggregate(results, key=LEARNER_RESULTS)
            self.module.update_observation_statistics(batch[Columns.OBS])
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.send_weights()

    def send_weights(self) -> None:
        """Gives the learner's weights to the runners."""
        self.env_runner_group.sync_weights(
            policies=[DEFAULT_MODULE_ID], from_worker_or_learner_group=self.learner_group, inference_only=True
        )

    def _sample(self) -> list[Rollout]:
        iteration = self.iteration
        remote = self.env_runner_group.num_remote_workers() > 0
        rollouts: list[Rollout] = self.env_runner_group.foreach_env_runner(
            lambda runner: runner.sample(iteration=iteration), local_env_runner=not remote
        )
        if len(rollouts) != len(self._meters):
            raise RuntimeError(
                f"{len(self._meters) - len(rollouts)} of {len(self._meters)} sampling actors failed; their errors are "
                "above. Rerun with --resume to resume from the last checkpoint."
            )
        for meter, rollout in zip(self._meters, rollouts, strict=True):
            self.episodes.extend(meter.add(rollout))
        self.steps += sum(rollout.rewards.size for rollout in rollouts)
        self.cost_per_step = float(np.mean([rollout.costs.mean() for rollout in rollouts]))
        self.reward_per_step = float(np.mean([rollout.rewards.mean() for rollout in rollouts]))
        self.excess = float(np.quantile([self.recipe.excess(rollout.next_observations) for rollout in rollouts], 0.95))
        return rollouts

    def _train_batch(self, rollouts: list[Rollout]) -> dict[str, NDArray[np.float32]]:
        """PPO's columns, flat and shuffled, with normalised advantages and normalised value targets."""
        pairs = [self._advantages(rollout) for rollout in rollouts]
        advantages = np.concatenate([advantage.ravel() for advantage, _ in pairs])
        targets = np.concatenate([target.ravel() for _, target in pairs])
        self.module.update_value_statistics(targets)
        mean, std = float(self.module.value_mean), float(self.module.value_std)
        columns = [_policy_columns(rollout) for rollout in rollouts]
        batch = {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}
        batch[Postprocessing.ADVANTAGES] = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        batch[Postprocessing.VALUE_TARGETS] = (targets - mean) / std
        order = np.random.default_rng((self.config.env_config["seed"], self.iteration)).permutation(len(targets))
        return {name: value.astype(np.float32)[order] for name, value in batch.items()}

    def _advantages(self, rollout: Rollout) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Advantages and value targets [T, N] of the penalised reward."""
        rewards = rollout.rewards.astype(np.float64)
        if self.penalty.slope > 0:
            over = np.maximum(0.0, self.recipe.excess(rollout.next_observations) - self.penalty.cap)
            punished = rollout.step_numbers < self.penalty.free_from
            rewards -= punished * (self.penalty.slope * over + self.penalty.cost_weight * rollout.costs)
        values = self._values(rollout.observations)
        next_values = values[1:].copy()
        next_values[rollout.terminated] = 0.0
        if self.recipe.sprint:  # what it may do depends on the time left, which the critic does not see
            next_values[rollout.truncated] = 0.0
        elif rollout.truncated.any():
            next_values[rollout.truncated] = self._values(rollout.next_observations[rollout.truncated])
        ended = rollout.terminated | rollout.truncated
        advantages = generalized_advantages(
            rewards, values[:-1], next_values, ended, self.config.gamma, self.recipe.gae_lambda
        )
        return advantages, advantages + values[:-1]

    @torch.no_grad()
    def _values(self, observations: NDArray[np.float32]) -> NDArray[np.float64]:
        """Value predictions in units of the reward, for observations [..., obs_dim]."""
        module = self.module
        values = module.compute_values({Columns.OBS: torch.from_numpy(observations)})
        return (values.double() * module.value_std + module.value_mean).numpy()


def _learner_module(learner: Learner, _: Any = None) -> ActorCritic:
    return cast(ActorCritic, learner.module[DEFAULT_MODULE_ID])


def generalized_advantages(
    rewards: NDArray[np.float64],
    values: NDArray[np.float64],
    next_values: NDArray[np.float64],
    ended: NDArray[np.bool_],
    gamma: float,
    lambda_: float,
) -> NDArray[np.float64]:
    """Generalised advantage estimates [T, N] (Schulman et al., arXiv 1506.02438).

    Args:
        rewards: [T, N].
        values: [T, N], predictions at the states acted on.
        next_values: [T, N], predictions at the true successors; 0 after a termination.
        ended: [T, N], where an episode ended (terminated or truncated).
        gamma: discount.
        lambda_: mixing of n-step estimates.
    """
    deltas = rewards + gamma * next_values - values
    carry = gamma * lambda_ * ~ended
    advantages = np.empty_like(deltas)
    last = np.zeros(deltas.shape[1])
    for t in range(len(deltas) - 1, -1, -1):
        last = deltas[t] + carry[t] * last
        advantages[t] = last
    return advantages


def _policy_columns(rollout: Rollout) -> dict[str, NDArray[np.float32]]:
    """Observations, actions, and what the acting policy thought of them, flat [T * N, ...]."""
    actions, means = (array.reshape(-1, array.shape[-1]) for array in (rollout.actions, rollout.means))
    log_std = np.broadcast_to(rollout.log_std, means.shape)
    tensors = (torch.from_numpy(np.ascontiguousarray(array)) for array in (means, log_std, actions))
    return {
        Columns.OBS: rollout.observations[:-1].reshape(len(actions), -1),
        Columns.ACTIONS: actions,
        Columns.ACTION_DIST_INPUTS: np.concatenate([means, log_std], axis=-1),
        Columns.ACTION_LOGP: gaussian_log_prob(*tensors).numpy(),
    }


def build_algorithm(task: Task, recipe: Recipe, seed: int, num_workers: int, first_episode: int = 0) -> VectorPPO:
    """The algorithm for a task.

    Args:
        task: the task.
        recipe: its hyperparameters.
        seed: of the networks, the episodes and the exploration.
        num_workers: Ray actors that sample; 0 samples in this process.
        first_episode: offset of the episode seeds (a resumed run takes fresh ones).
    """
    limit = np.full(task.obs_dim, np.inf, dtype=np.float32)
    action_limit = np.ones(task.act_dim, dtype=np.float32)
    settings = {
        "task": task.name,
        "recipe": recipe,
        "num_envs": recipe.num_envs // max(1, num_workers),
        "rollout_length": recipe.rollout_length,
        "seed": seed,
        "first_episode": first_episode,
    }
    config = (
        PPOConfig(algo_class=VectorPPO)
        .environment(
            observation_space=gym.spaces.Box(-limit, limit, dtype=np.float32),
            action_space=gym.spaces.Box(-action_limit, action_limit, dtype=np.float32),
            env_config=settings,
        )
        .env_runners(env_runner_cls=VectorEnvRunner, num_env_runners=num_workers)
        .learners(num_learners=0, learner_class=BoundedLearner)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=ActorCritic, model_config={"hidden": recipe.hidden}))
        .training(
            gamma=recipe.gamma,
            lr=recipe.learning_rate,
            entropy_coeff=recipe.entropy,
            num_epochs=recipe.epochs,
            minibatch_size=recipe.minibatch,
            train_batch_size_per_learner=recipe.num_envs * recipe.rollout_length,
            clip_param=0.2,
            vf_clip_param=float("inf"),
            vf_loss_coeff=0.5,
            use_kl_loss=False,
            grad_clip=1.0,
            grad_clip_by="global_norm",
        )
        .debugging(seed=seed, log_level="ERROR")
    )
    return cast(VectorPPO, config.build_algo())
