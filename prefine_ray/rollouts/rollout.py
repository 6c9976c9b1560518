"""Episodes of a policy in the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.seeding import derive
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.policies.files import policy_from_bytes
from prefine_ray.policies.forward import PolicyForward
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import get_task

# Copies of a task that one process steps together: more empty the caches, fewer pay for the policy call. A Bullet copy
# is an engine of its own, of 30 to 42 MB.
COPIES = {"bullet": 16, "safety-gymnasium": 64}


def rollout_copies(task: str) -> int:
    """About how many copies of a task one process should step together."""
    return COPIES[get_task(task).suite]


def rollout(
    policy: GaussianPolicy,
    stepper: VectorStepper,
    seeds: Sequence[int] | NDArray[np.int64],
    *,
    noise_seed: int | None = None,
    temperature: float = 1.0,
) -> Trajectories:
    """One episode per reset seed, in the order of the seeds.

    The same policy, number of copies and seeds give the same episodes: action noise depends on the
    episode's place in `seeds` and on `noise_seed` only. A population of P runs in one batch: the episodes of each
    member are those that it has alone, on a P-th of the copies.

    Args:
        policy: a population of one; or of P, and then member p runs the p-th part of the seeds, a copy for each seed.
        stepper: its number of copies is the batch of each policy call.
        seeds: reset seeds, one per episode.
        noise_seed: seed of the action noise; None acts deterministically.
        temperature: scales the policy's sigma.
    """
    if policy.population > 1 and (len(seeds) != stepper.num_envs or len(seeds) % policy.population):
        raise ValueError(
            f"{policy.population} policies need as many copies as seeds, divisible among them, not "
            f"{stepper.num_envs} copies and {len(seeds)} seeds"
        )
    noise = None if noise_seed is None else _EpisodeNoise(noise_seed, stepper)
    forward = policy.frozen()
    observations = stepper.reset(int(seed) for seed in seeds)
    record: list[tuple[NDArray, ...]] = []
    while stepper.active.any():
        actions = _act(forward, observations, noise, temperature)
        step = stepper.step(actions)
        ended = step.terminated | step.truncated
        successors = step.next_observations
        record.append(
            (observations, successors, actions, step.rewards, step.costs, step.terminated, step.truncated, step.active)
        )
        if noise is not None:
            noise.advance(ended)
        observations = step.observations
    return _by_episode(record, np.asarray(seeds, dtype=np.int64))


@dataclass(frozen=True)
class RolloutUnit:
    """One piece of rollout work. Its size is set by what is asked, not by who works, and so are its results."""

    task: str
    policy: bytes  # a policy file's content; of several policies, each has its part of the seeds
    seeds: NDArray[np.int64]  # [E] reset seeds
    copies: int  # simulators stepped together
    noise_seed: int | None = None  # None: deterministic actions
    temperature: float = 1.0


def run_unit(unit: RolloutUnit, stepper: VectorStepper) -> Trajectories:
    """The unit's episodes; `stepper` has the unit's task and number of copies."""
    policy = policy_from_bytes(unit.policy)
    return rollout(policy, stepper, unit.seeds, noise_seed=unit.noise_seed, temperature=unit.temperature)


class _EpisodeNoise:
    """Standard normal noise for each copy, drawn per episode so that no episode disturbs another."""

    def __init__(self, noise_seed: int, stepper: VectorStepper):
        self._seed, self._stepper = noise_seed, stepper
        self._shape = (stepper.task.horizon, stepper.task.act_dim)
        self._episodes_started = 0
        self._time = np.zeros(stepper.num_envs, dtype=np.int64)
        self._values = np.zeros((stepper.num_envs, *self._shape), dtype=np.float32)
        self._start(range(stepper.num_envs))

    def now(self) -> NDArray[np.float32]:
        """[N, act_dim] for the present step."""
        return self._values[np.arange(len(self._time)), self._time]

    def advance(self, ended: NDArray[np.bool_]) -> None:
        """To the next step; copies marked in `ended` [N] begin the next episode."""
        self._time += self._stepper.active
        self._start(np.flatnonzero(ended).tolist())

    def _start(self, copies: Sequence[int]) -> None:
        for copy in copies:
            generator = np.random.Generator(np.random.Philox(derive(self._seed, self._episodes_started)))
            generator.standard_normal(dtype=np.float32, out=self._values[copy])
            self._episodes_started += 1
            self._time[copy] = 0


def _act(
    forward: PolicyForward, observations: NDArray[np.float32], noise: _EpisodeNoise | None, temperature: float
) -> NDArray[np.float32]:
    by_member = observations.reshape(forward.population, -1, observations.shape[-1])
    drawn = None if noise is None else noise.now().reshape(*by_member.shape[:2], -1)
    return forward.act(by_member, drawn, temperature).reshape(len(observations), -1)


def _by_episode(record: list[tuple[NDArray, ...]], seeds: NDArray[np.int64]) -> Trajectories:
    """Per-step rows of all copies, [S] times [N, ...], to episodes in the order in which they started."""
    columns = [np.stack(column, axis=1) for column in zip(*record, strict=True)]  # [N, S, ...]
    active = columns.pop()
    observations, successors, actions, rewards, costs, terminals, timeouts = (column[active] for column in columns)
    copies, times = np.nonzero(active)
    whole = Trajectories(
        observations=observations,
        next_observations=successors,
        actions=actions,
        rewards=rewards.astype(np.float32),
        costs=costs.astype(np.float32),
        terminals=terminals,
        timeouts=timeouts,
    )
    order = np.lexsort((copies[whole.starts], times[whole.starts]))  # copies start together in ascending order
    return replace(whole.select(order), seeds=seeds)
