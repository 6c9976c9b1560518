"""Our simulators and upstream's, stepped side by side with the same actions.

`compare` does so in a process of its own, in which OpenBLAS takes dot products as on most machines: as plain sums, from
the left. Its kernels for AVX-512 fuse multiplications and additions, which moves upstream's own DroneRun by more than
1e-6 in a few episodes of a hundred. The reference trajectories were recorded with plain sums.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefine_ray.simulators.batch import make_batch
from prefine_ray.simulators.upstream import import_safety_gymnasium
from prefine_ray.tasks.spec import get_task
from tests.simulators import test_bullet, test_goal, test_navigation, test_velocity
from tests.simulators.reference import policies

TOLERANCE = 1e-6  # absolute, and relative to numbers beyond 1
KINDS = ("noisy", "smooth", "extreme", "zero", "policy")
Actor = Callable[[int, NDArray[np.float32]], NDArray[np.floating]]  # (step, observation [obs_dim]) -> action [act_dim]
Step = tuple[NDArray[np.float64], float, float, bool]  # observation [obs_dim], reward, cost, terminated


@dataclass(frozen=True)
class Comparison:
    """How far one episode of ours is from upstream's."""

    seed: int
    steps: int
    observation: float  # largest difference, in float32
    reward: float  # largest difference
    events: int  # steps in which cost or termination differ

    @property
    def left(self) -> bool:
        """Whether ours left upstream's."""
        return self.observation > TOLERANCE or self.reward > TOLERANCE or self.events > 0


def compare(
    task: str,
    kind: str,
    dtype: str,
    steps: int,
    seeds: Sequence[int],
    reused: bool = False,
    carry_over: bool | None = None,
) -> list[Comparison]:
    """Episodes of at most `steps` steps.

    Args:
        task: its name.
        kind: of actions, one of `KINDS`.
        dtype: of the actions, "float32" or "float64"; both sides are given the same arrays.
        steps: the length of an episode that does not end before.
        seeds: of the episodes, and of their actions.
        reused: let one upstream environment run all episodes in turn; otherwise each episode has a fresh one.
        carry_over: whether ours carries over what a reused environment does; by default where upstream's is reused.
    """
    arguments = json.dumps(
        [task, kind, dtype, steps, list(seeds), reused, reused if carry_over is None else carry_over]
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulators.comparison", arguments],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OPENBLAS_CORETYPE": "Haswell"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # Bullet's library prints a line too, before ours or, where C's standard output is buffered, at the end.
    result = next(line for line in done.stdout.splitlines() if line.startswith("[{"))
    return [Comparison(**fields) for fields in json.loads(result)]


def actor(task: str, kind: str, dtype: str, seed: int) -> Actor:
    """What acts in an episode; MuJoCo tasks and ants get actions in [-1, 1] only: upstream charges for those beyond."""
    rng, spec = np.random.default_rng(seed), get_task(task)
    width, bound = spec.act_dim, 1.7 if spec.suite == "bullet" and not task.startswith("Ant") else 1.0
    noise = 0.5 * rng.standard_normal((spec.horizon, width))
    if kind == "policy":
        policy = policies(task)[seed % 2]
        return lambda t, observation: np.clip(policy.act(observation[None])[0] + 0.4 * noise[t], -1, 1).astype(dtype)
    if kind == "smooth":
        phases = np.arange(spec.horizon)[:, None] * rng.uniform(0.02, 0.3, width) + rng.uniform(0.0, 6.0, width)
        table = rng.uniform(0.1, 1.0) * np.sin(phases)
    elif kind == "extreme":
        table = np.repeat(rng.choice([-bound, -1.0, 1.0, bound], (spec.horizon, width)), 5, axis=0)
    else:
        table = np.zeros_like(noise) if kind == "zero" else np.clip(noise, -1.0, 1.0)
    table = table.astype(dtype)
    return lambda t, observation: table[t]


class Upstream:
    """One upstream environment behind one interface."""

    def __init__(self, task: str) -> None:
        self._env = _ENVIRONMENTS[suite_of(task)](task)
        bullet = suite_of(task) == "bullet"
        self._arithmetic = test_bullet.plain_arithmetic if bullet else contextlib.nullcontext

    def reset(self, seed: int) -> NDArray[np.float64]:
        """The first observation [obs_dim] of the episode `seed`."""
        np.random.seed(seed)  # Bullet-Safety-Gym draws from the global state
        with self._arithmetic():
            return self._env.reset(seed=seed)[0]

    def step(self, action: NDArray[np.floating]) -> Step:
        """One step."""
        observation, reward, *cost, terminated, _, info = self._env.step(action)
        return observation, float(reward), float(cost[0] if cost else info["cost"]), bool(terminated)

    def close(self) -> None:
        """Free the engine."""
        self._env.close()


def suite_of(task: str) -> str:
    """Which of the modules of tests has the task."""
    modules = {"velocity": test_velocity, "goal": test_goal, "navigation": test_navigation, "bullet": test_bullet}
    return next(name for name, module in modules.items() if task in module.TASKS)


def _goal_environment(task: str) -> Any:
    yaml = import_safety_gymnasium("world").yaml
    yaml.load = test_goal.without_stars(yaml.load)
    return test_goal.upstream_env(task)


_ENVIRONMENTS: dict[str, Callable[[str], Any]] = {
    "bullet": test_bullet.new_upstream,
    "velocity": test_velocity.upstream_env,
    "goal": functools.cache(_goal_environment),  # a reset makes a new model
    "navigation": test_navigation.upstream_env,
}


@contextlib.contextmanager
def _environments(task: str, reused: bool) -> Iterator[Callable[[], Upstream]]:
    """Gives the upstream environment of each episode in turn."""
    with contextlib.ExitStack() as stack:

        def new() -> Upstream:
            return stack.enter_context(contextlib.closing(Upstream(task)))

        yield functools.cache(new) if reused else new


def _compare_here(
    task: str, kind: str, dtype: str, steps: int, seeds: list[int], reused: bool, carry_over: bool
) -> list[Comparison]:
    with (
        contextlib.closing(make_batch(task, 1, carry_over)) as batch,
        _environments(task, reused) as environment,
    ):
        return [_episode(batch, environment(), actor(task, kind, dtype, seed), seed, steps) for seed in seeds]


def _episode(batch: Any, upstream: Upstream, act: Actor, seed: int, steps: int) -> Comparison:
    observation, expected = batch.reset(0, seed), upstream.reset(seed)
    observations, rewards, events, t = [_difference(observation, expected.astype(np.float32))], [0.0], 0, 0
    ended = False
    while t < steps and not ended:
        action = act(t, observation)
        expected, reward, cost, terminated = upstream.step(action)
        step = batch.step(action[None])
        observation, t = step.observations[0], t + 1
        observations.append(_difference(observation, expected.astype(np.float32)))
        rewards.append(_difference(step.rewards, np.array([reward])))
        differs = (step.costs[0], step.terminated[0]) != (cost, terminated)
        events += differs
        ended = terminated or differs
    return Comparison(seed, t, max(observations), max(rewards), events)


def _difference(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """The largest, relative to numbers beyond 1."""
    difference = np.abs(one.astype(np.float64) - other)
    return float((difference / np.maximum(1.0, np.abs(other))).max())


if __name__ == "__main__":
    print(json.dumps([asdict(one) for one in _compare_here(*json.loads(sys.argv[1]))]))
