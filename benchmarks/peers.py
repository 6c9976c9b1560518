"""The peers: upstream's environments under Stable-Baselines3, RLlib and a plain loop, each with a 256-256 policy.

Imported in the peers' own processes only.
"""

from __future__ import annotations

import itertools
import os
import time
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from benchmarks.measure import SINGLE_THREAD, Sample, timed_loop
from prefine_ray.simulators.upstream import import_safety_gymnasium
from prefine_ray.tasks.spec import Task, get_task

VELOCITY_CLASSES = {
    "AntVelocity": ("ant", "SafetyAntVelocityEnv"),
    "HalfCheetahVelocity": ("half_cheetah", "SafetyHalfCheetahVelocityEnv"),
    "HopperVelocity": ("hopper", "SafetyHopperVelocityEnv"),
    "SwimmerVelocity": ("swimmer", "SafetySwimmerVelocityEnv"),
    "Walker2dVelocity": ("walker2d", "SafetyWalker2dVelocityEnv"),
}
HIDDEN = [256, 256]
COPIES = 8  # environments of each vector environment


def upstream_env(task: str) -> gymnasium.Env:
    """Upstream's environment class with its time limit and nothing else; five-valued, the cost in `info["cost"]`."""
    known = get_task(task)
    env = _bullet(known) if known.suite == "bullet" else _FiveValued(_safety_gymnasium(known))
    return gymnasium.wrappers.TimeLimit(env, known.horizon)


def _bullet(task: Task) -> gymnasium.Env:
    import bullet_safety_gym  # noqa: F401  (registers its environments)

    return gymnasium.spec(f"Safety{task.name}-v0").make(max_episode_steps=-1, disable_env_checker=True).unwrapped


def _safety_gymnasium(task: Task) -> Any:
    if task.name in VELOCITY_CLASSES:
        file, name = VELOCITY_CLASSES[task.name]
        return getattr(import_safety_gymnasium(f"tasks.safe_velocity.safety_{file}_velocity_v1"), name)()
    builder = import_safety_gymnasium("builder")
    return builder.Builder(f"Safety{task.name}-v0", {"agent_name": "Car"})


class _FiveValued(gymnasium.Env):
    """safety-gymnasium's six values as five; what Gymnasium's wrappers and the peers take."""

    def __init__(self, env: Any):
        self._env = env
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.metadata = env.metadata

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """As upstream."""
        return self._env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        """The cost goes into the info."""
        observation, reward, cost, terminated, truncated, info = self._env.step(action)
        info["cost"] = cost
        return observation, reward, terminated, truncated, info


def _one_thread() -> None:
    for name in SINGLE_THREAD:
        os.environ[name] = "1"
    import torch

    torch.set_num_threads(1)


class PlainLoop:
    """One environment and a policy call with a batch of one."""

    def __init__(self, task: str):
        _one_thread()
        import torch
        from torch import nn

        self._env = upstream_env(task)
        sizes = (self._env.observation_space.shape[0], *HIDDEN)  # type: ignore[index]
        layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
        self._policy = nn.Sequential(*layers, nn.Linear(HIDDEN[-1], get_task(task).act_dim))
        self._no_grad, self._randn_like = torch.no_grad, torch.randn_like
        self._to_tensor = partial(torch.as_tensor, dtype=torch.float32)
        self._observation, _ = self._env.reset(seed=0)

    def _step(self) -> int:
        with self._no_grad():
            mean = self._policy(self._to_tensor(self._observation)[None])[0]
            action = (mean + self._randn_like(mean)).clamp(-1.0, 1.0).numpy()
        self._observation, _, terminated, truncated, _ = self._env.step(action)
        if terminated or truncated:
            self._observation, _ = self._env.reset()
        return 1

    def run(self, seconds: float) -> Sample:
        """Steps with resets."""
        return timed_loop(self._step, seconds)

    def close(self) -> None:
        """Frees the environment."""
        self._env.close()


class StableBaselinesLoop:
    """A vector environment of Stable-Baselines3 and its `predict`."""

    def __init__(self, task: str, subprocesses: int = 0):
        _one_thread()
        from stable_baselines3 import PPO
        from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

        make = partial(upstream_env, task)
        self._envs = SubprocVecEnv([make] * subprocesses) if subprocesses else DummyVecEnv([make] * COPIES)
        self._model = PPO("MlpPolicy", self._envs, policy_kwargs={"net_arch": HIDDEN}, device="cpu", seed=0)
        self._observations: Any = self._envs.reset()  # typed the same with and without the package

    def _step(self) -> int:
        actions, _ = self._model.predict(self._observations)
        self._observations, *_ = self._envs.step(actions)
        return self._envs.num_envs

    def run(self, seconds: float) -> Sample:
        """Steps with the vector environment's auto-reset."""
        workers = [process.pid for process in getattr(self._envs, "processes", ())]
        return timed_loop(self._step, seconds, workers)

    def close(self) -> None:
        """Ends the worker processes."""
        self._envs.close()


class RLlibLoop:
    """RLlib's `SingleAgentEnvRunner` with PPO's default module (new API stack), called in this process.

    An algorithm would call it through an actor, which costs more.
    """

    FRAGMENT = 200  # steps of each environment per `sample()`

    def __init__(self, task: str):
        _one_thread()
        from ray.rllib.algorithms.ppo import PPOConfig
        from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
        from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
        from ray.tune.registry import register_env

        register_env("upstream", lambda config: upstream_env(task))
        config = (
            PPOConfig()
            .environment("upstream", disable_env_checking=True)
            .env_runners(num_env_runners=0, num_envs_per_env_runner=COPIES, rollout_fragment_length=self.FRAGMENT)
            .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=HIDDEN, fcnet_activation="relu"))
        )
        self._runner = SingleAgentEnvRunner(config=config)
        self._seconds_per_step = 1e-3

    def run(self, seconds: float) -> Sample:
        """Samples fragments, shorter ones where a fragment would take longer than a quarter of the time."""
        steps, started, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - started < seconds:
            wanted = int(0.25 * seconds / self._seconds_per_step)
            wanted = int(np.clip(wanted, COPIES, self.FRAGMENT * COPIES))
            steps += sum(len(episode) for episode in self._runner.sample(num_timesteps=wanted))
            self._seconds_per_step = (time.perf_counter() - started) / max(steps, 1)
        return Sample(steps, time.perf_counter() - started, time.process_time() - cpu)

    def close(self) -> None:
        """Closes the environments."""
        self._runner.stop()
