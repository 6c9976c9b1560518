"""RLlib parts of the pretraining: module, environment runner and algorithm (PPO on the new API stack).

RLlib's own environment runner spends most of its time on per-step Python (one episode object per copy,
connector pipelines). Here a runner steps all copies of a task with one policy call per step and hands over
arrays [T, N]; PPO's loss, minibatches, optimiser, weight synchronisation and checkpoints are RLlib's.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import Any, NamedTuple, cast

import gymnasium as gym
import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env import INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from torch import Tensor, nn

from prefine_ray.policies.gaussian import Architecture, GaussianPolicy
from prefine_ray.pretrain.recipes import HIDDEN
from prefine_ray.simulators.vector import VectorStepper
from prefine_ray.tasks.spec import Task

FloatArray = NDArray[np.float32]

LOG_STD_BOUNDS = (-2.0, 0.5)
VALUE_MOMENTUM = 0.9  # of the running mean and deviation of the value targets
FIRST_SEED = 2**31  # training episodes use the upper half of the seeds, all other rollouts the lower half
_SEEDS_PER_RUN = 2**24
_SEEDS_PER_RUNNER = 2**20


class ActorCritic(TorchRLModule, ValueFunctionAPI):
    """A GaussianPolicy with fixed log-std and a separate critic, both behind the policy's observation normalisation.

    The critic predicts value targets normalised by `value_mean` and `value_std`.
    """

    def setup(self) -> None:
        """Build the networks for the spaces that RLlib passed in."""
        spaces = cast("tuple[gym.spaces.Box, gym.spaces.Box]", (self.observation_space, self.action_space))
        obs_dim, act_dim = (space.shape[0] for space in spaces)
        hidden = cast("dict[str, Any]", self.model_config or {}).get("hidden", HIDDEN)
        self.policy = GaussianPolicy(Architecture(obs_dim, act_dim, hidden, "tanh", log_std_bounds=LOG_STD_BOUNDS))
        with torch.no_grad():
            self.policy.weights[-1].mul_(0.01)  # first actions near the middle of their range
        self.critic = nn.Sequential(
            nn.Linear(obs_dim, hidden[0]), nn.Tanh(), nn.Linear(*hidden), nn.Tanh(), nn.Linear(hidden[1], 1)
        )
        self.register_buffer("obs_count", torch.zeros(()))
        self.register_buffer("obs_square", torch.zeros(1, 1, obs_dim))  # mean of the squared deviations
        self.register_buffer("value_mean", torch.zeros(()))
        self.register_buffer("value_std", torch.zeros(()))  # 0: no targets seen yet

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        mean, log_std = self.policy(batch[Columns.OBS][None])
        return {Columns.ACTION_DIST_INPUTS: torch.cat([mean[0], log_std[0]], dim=-1)}

    def compute_values(self, batch: dict[str, Any], embeddings: Any | None = None) -> Tensor:
        """Normalised value predictions [B]."""
        normed = (batch[Columns.OBS] - self.policy.obs_mean[0]) / self.policy.obs_std[0]
        return self.critic(normed.clamp(-10.0, 10.0)).squeeze(-1)

    @torch.no_grad()
    def update_observation_statistics(self, observations: FloatArray) -> None:
        """Fold a batch [B, obs_dim] into the running mean and variance (Chan et al.'s parallel formula)."""
        batch = torch.from_numpy(observations).double()
        count = self.obs_count.double()
        total = count + len(batch)
        delta = batch.mean(0) - self.policy.obs_mean.double()
        spread = self.obs_square.double() * count + batch.var(0, unbiased=False) * len(batch)
        square = (spread + delta.square() * count * len(batch) / total) / total
        self.policy.set_normalization(
            (self.policy.obs_mean.double() + delta * len(batch) / total).float(), square.sqrt().float()
        )
        self.obs_square.copy_(square)
        self.obs_count.copy_(total)

    @torch.no_grad()
    def update_value_statistics(self, targets: NDArray[np.float64]) -> None:
        """Move the value normalisation towards the mean and deviation of these targets."""
        mean, std = float(targets.mean()), max(float(targets.std()), 1e-3)
        if self.value_std == 0:
            self.value_mean.fill_(mean)
            self.value_std.fill_(std)
        else:
            self.value_mean.lerp_(torch.tensor(mean), 1.0 - VALUE_MOMENTUM)
            self.value_std.lerp_(torch.tensor(std), 1.0 - VALUE_MOMENTUM)


class Rollout(NamedTuple):
    """T steps of N copies of a task, as the policy saw them."""

    observations: FloatArray  # [T + 1, N, obs_dim]; the last row is where the next rollout continues
    next_observations: FloatArray  # [T, N, obs_dim], the true successors
    actions: FloatArray  # [T, N, act_dim], before clipping
    means: FloatArray  # [T, N, act_dim], of the policy that acted
    log_std: FloatArray  # [act_dim]
    rewards: FloatArray  # [T, N]
    costs: FloatArray  # [T, N]
    terminated: NDArray[np.bool_]  # [T, N]
    truncated: NDArray[np.bool_]  # [T, N]
    step_numbers: NDArray[np.int64]  # [T, N], steps of the episode before this one


class VectorEnvRunner(EnvRunner, Checkpointable):
    """Samples fixed-length rollouts of N copies of a task with one policy call per step.

    `env_config` of the algorithm config: task (name), num_envs, rollout_length, seed, first_episode.
    """

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        torch.set_num_threads(1)
        super().__init__(config=config, **kwargs)
        self.settings = dict(self.config.env_config)
        self.stepper: VectorStepper | None = None
        self.observations: FloatArray | None = None
        self.step_numbers = np.zeros(self.settings["num_envs"], dtype=np.int64)
        self.make_module()

    def make_module(self) -> None:
        """Build this runner's copy of the module."""
        spec = self.config.get_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        self.module = cast(ActorCritic, spec.build())

    def get_spaces(self) -> dict[str, tuple[gym.Space, gym.Space]]:
        """Observation and action space of the environment and of the module, which are the same."""
        spaces = cast("tuple[gym.Space, gym.Space]", (self.config.observation_space, self.config.action_space))
        return {INPUT_ENV_SPACES: spaces, DEFAULT_MODULE_ID: spaces}

    def assert_healthy(self) -> None:
        """RLlib's check after construction."""
        assert self.module is not None

    def _start(self) -> FloatArray:
        settings, runner = self.settings, self.worker_index or 0
        self.stepper = VectorStepper(settings["task"], settings["num_envs"])
        first = FIRST_SEED + settings["seed"] % 64 * _SEEDS_PER_RUN + runner * _SEEDS_PER_RUNNER
        return self.stepper.reset(itertools.count(first + settings["first_episode"] % _SEEDS_PER_RUNNER))

    @torch.inference_mode()
    def sample(self, **kwargs: int) -> Rollout:
        """One rollout with exploration; the noise depends on (seed, runner, `iteration`)."""
        if self.stepper is None or self.observations is None:
            self.observations = self._start()
        assert self.stepper is not None
        stepper, policy = self.stepper, self.module.policy
        length, copies = self.settings["rollout_length"], stepper.num_envs
        log_std = policy.log_std.clamp(*LOG_STD_BOUNDS)[0, 0].numpy()
        rng = np.random.default_rng((self.settings["seed"], self.worker_index or 0, kwargs["iteration"]))
        noise = np.exp(log_std) * rng.standard_normal((length, copies, len(log_std)), dtype=np.float32)
        rollout = _empty_rollout(stepper.task, length, copies, log_std)
        observations = self.observations
        for t in range(length):
            rollout.observations[t] = observations
            mean = policy(torch.from_numpy(observations)[None])[0][0].numpy()
            step = stepper.step(mean + noise[t])
            rollout.means[t] = mean
            rollout.next_observations[t] = step.next_observations
            rollout.rewards[t], rollout.costs[t] = step.rewards, step.costs
            rollout.terminated[t], rollout.truncated[t] = step.terminated, step.truncated
            rollout.step_numbers[t] = self.step_numbers
            self.step_numbers = np.where(step.terminated | step.truncated, 0, self.step_numbers + 1)
            observations = step.observations
        rollout.observations[length] = self.observations = observations
        np.add(rollout.means, noise, out=rollout.actions)
        return rollout

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The module's state, unless excluded; environments are not saved, training continues with fresh episodes."""
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            return {COMPONENT_RL_MODULE: self.module.get_state(**kwargs)}
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over module weights (synchronisation after each update)."""
        if COMPONENT_RL_MODULE in state:
            weights = state[COMPONENT_RL_MODULE]
            if isinstance(weights, ray.ObjectRef):
                weights = ray.get(weights)
            self.module.set_state(weights.get(DEFAULT_MODULE_ID, weights))

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """How a checkpoint builds this runner again."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """No component of its own: the learner saves the module."""
        return []

    def get_metrics(self) -> dict[str, Any]:
        """RLlib's metrics of this runner (none; the algorithm counts)."""
        return self.metrics.reduce()

    def stop(self) -> None:
        """Close the simulators."""
        if self.stepper is not None:
            self.stepper.close()


def _empty_rollout(task: Task, length: int, copies: int, log_std: FloatArray) -> Rollout:
    def zeros(*shape: int) -> FloatArray:
        return np.zeros(shape, dtype=np.float32)

    return Rollout(
        zeros(length + 1, copies, task.obs_dim),
        zeros(length, copies, task.obs_dim),
        zeros(length, copies, task.act_dim),
        zeros(length, copies, task.act_dim),
        log_std,
        zeros(length, copies),
        zeros(length, copies),
        np.zeros((length, copies), dtype=np.bool_),
        np.zeros((length, copies), dtype=np.bool_),
        np.zeros((length, copies), dtype=np.int64),
    )
