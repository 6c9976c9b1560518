"""Episodes of a policy in the simulator."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.seeding import derive
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.policies.files import policy_from_bytes
from prefine_ray.policies.forward import PolicyForward
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.rollouts.conditions import PLAIN, Condition
from prefine_ray.rollouts.disturbances import ActionDelay, EpisodeNoise, ObservationNoise
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import get_task

# Copies of a task that one process steps together: more empty the caches, fewer pay for the policy call. A Bullet copy
# is an engine of its own, of 30 to 42 MB.
COPIES = {"bullet": 16, "safety-gymnasium": 64, "own": 16}


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
    condition: Condition = PLAIN,
) -> Trajectories:
    """One episode per reset seed, in the order of the seeds.

    The same policy, number of copies and seeds give the same episodes: action noise depends on the
    episode's place in `seeds` and on `noise_seed` only. A population of P runs in one batch: the episodes of each
    member are those that it has alone, on a P-th of the copies. Where the stepper carries over, each copy runs its part
    of the seeds one after the other.

    Args:
        policy: a population of one; or of P, and then member p runs the p-th part of the seeds, a copy for each seed
            (where the stepper carries over: one copy for all of them).
        stepper: its number of copies is the batch of each policy call. It carries over where the condition does, and
            then has run nothing yet.
        seeds: reset seeds, one per episode.
        noise_seed: seed of the action noise; None acts deterministically.
        temperature: scales the policy's sigma.
        condition: what disturbs the policy; the observations of the trajectories are those without noise, the actions
            those that acted.
    """
    _check_copies(policy, stepper, len(seeds), condition)
    forward = policy.frozen()
    if stepper.carry_over:
        observations = stepper.reset_each(np.reshape(seeds, (stepper.num_envs, -1)).tolist())
    else:
        observations = stepper.reset(int(seed) for seed in seeds)
    started = itertools.count()
    noise = None
    if noise_seed is not None:
        noise = EpisodeNoise(stepper, stepper.task.act_dim, lambda _: derive(noise_seed, next(started)))
    seen = _observation_noise(policy, stepper, condition) if condition.observation_noise else None
    delay = ActionDelay(condition.action_delay, (stepper.num_envs, stepper.task.act_dim))
    record: list[tuple[NDArray, ...]] = []
    while stepper.active.any():
        decided = _act(forward, seen.seen(observations) if seen else observations, noise, temperature)
        actions = delay.arrived(decided)
        step = stepper.step(actions)
        ended = step.terminated | step.truncated
        successors = step.next_observations
        record.append(
            (observations, successors, actions, step.rewards, step.costs, step.terminated, step.truncated, step.active)
        )
        for disturbance in (noise, seen):
            if disturbance is not None:
                disturbance.advance(ended)
        delay.forget(ended)
        observations = step.observations
    return _by_episode(record, np.asarray(seeds, dtype=np.int64), stepper.carry_over)


def _check_copies(policy: GaussianPolicy, stepper: VectorStepper, episodes: int, condition: Condition) -> None:
    copies = stepper.num_envs
    if condition.carry_over != stepper.carry_over:
        raise ValueError(f"condition {condition.name!r} and a stepper with carry_over={stepper.carry_over}")
    if stepper.carry_over:
        if copies != policy.population or episodes % copies:
            raise ValueError(
                f"{policy.population} policies whose simulators carry over need a copy each, and as many seeds each, "
                f"not {copies} copies and {episodes} seeds"
            )
    elif policy.population > 1 and (episodes != copies or episodes % policy.population):
        raise ValueError(
            f"{policy.population} policies need as many copies as seeds, divisible among them, not "
            f"{copies} copies and {episodes} seeds"
        )


def _observation_noise(policy: GaussianPolicy, stepper: VectorStepper, condition: Condition) -> ObservationNoise:
    """The condition's share of each member's standard deviations, in all its copies."""
    std = policy.obs_std.detach().cpu().numpy()[:, 0]  # [P, obs_dim]
    sigma = np.float32(condition.observation_noise) * std
    return ObservationNoise(stepper, np.repeat(sigma, stepper.num_envs // policy.population, axis=0))


@dataclass(frozen=True)
class RolloutUnit:
    """One piece of rollout work. Its size is set by what is asked, not by who works, and so are its results."""

    task: str
    policy: bytes  # a policy file's content; of several policies, each has its part of the seeds
    seeds: NDArray[np.int64]  # [E] reset seeds
    copies: int  # simulators stepped together
    noise_seed: int | None = None  # None: deterministic actions
    temperature: float = 1.0
    condition: Condition = PLAIN


def run_unit(unit: RolloutUnit, stepper: VectorStepper) -> Trajectories:
    """The unit's episodes; `stepper` has the unit's task and number of copies."""
    return rollout(
        policy_from_bytes(unit.policy),
        stepper,
        unit.seeds,
        noise_seed=unit.noise_seed,
        temperature=unit.temperature,
        condition=unit.condition,
    )


def _act(
    forward: PolicyForward, observations: NDArray[np.float32], noise: EpisodeNoise | None, temperature: float
) -> NDArray[np.float32]:
    by_member = observations.reshape(forward.population, -1, observations.shape[-1])
    drawn = None if noise is None else noise.now().reshape(*by_member.shape[:2], -1)
    return forward.act(by_member, drawn, temperature).reshape(len(observations), -1)


def _by_episode(record: list[tuple[NDArray, ...]], seeds: NDArray[np.int64], by_copy: bool) -> Trajectories:
    """Per-step rows of all copies, [S] times [N, ...], to episodes in the order in which they started.

    `by_copy`: those of the first copy first.
    """
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
    if by_copy:
        return replace(whole, seeds=seeds)
    order = np.lexsort((copies[whole.starts], times[whole.starts]))  # copies start together in ascending order
    return replace(whole.select(order), seeds=seeds)
