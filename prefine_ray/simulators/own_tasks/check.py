"""Tries whether a task can be trusted: its numbers, its seeds, its ends and its pictures, each in plain words."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.errors import PrefineError
from prefine_ray.simulators.batch import SimulatorBatch, make_batch
from prefine_ray.simulators.env import TaskEnv
from prefine_ray.simulators.vector import VectorStepper
from prefine_ray.tasks.definition import OwnTaskError
from prefine_ray.tasks.environment import make_environment
from prefine_ray.tasks.spec import Task

EPISODES = 3  # of random actions, from reset to end
STEPS = 50  # of random actions, which are repeated from the same seed
_SEED, _OTHER = 12345, 54321


class Finding(NamedTuple):
    """What one check found."""

    what: str  # was tried
    ok: bool
    text: str  # what is there; or what is wrong, with the remedy


def check_task(task: Task) -> list[Finding]:
    """Tries everything; a check that fails does not keep the others from being tried."""
    if not task.has_environment:
        return [Finding("environment", True, "none: only data are used, and nothing is evaluated")]
    checks = {"spaces": _spaces, "episodes": _episodes, "seeds": _seeds, "copies": _copies, "pictures": _pictures}
    return [_tried(what, check, task) for what, check in checks.items()]


def _tried(what: str, check: Callable[[Task], str], task: Task) -> Finding:
    try:
        return Finding(what, True, check(task))
    except PrefineError as error:
        return Finding(what, False, str(error))
    except Exception as error:  # of the user's own code
        return Finding(what, False, f"the environment raised {type(error).__name__}: {error}")


def _spaces(task: Task) -> str:
    """Sizes; making the environment refuses what cannot be served."""
    with closing(make_batch(task, 1)) as batch:
        batch.reset(0, _SEED)
    return f"{task.obs_dim} numbers observed, {task.act_dim} in an action of [-1, 1]"


def _episodes(task: Task) -> str:
    """Whole episodes of random actions: every number is looked at by the batch, the ends here."""
    rng, totals = np.random.default_rng(0), np.zeros((EPISODES, 3))
    with closing(VectorStepper(task, 1)) as stepper:
        for number in range(EPISODES):
            stepper.reset([_SEED + number])
            while stepper.active.any():
                step = stepper.step(rng.uniform(-1.0, 1.0, (1, task.act_dim)))
                totals[number] += step.rewards[0], step.costs[0], 1.0
    returns, costs, lengths = totals.T
    note = "" if costs.any() else f"; no step of {EPISODES} episodes cost anything: is the cost where it should be?"
    limits = ", ".join(f"{limit:g}" for limit in task.thresholds)
    return (
        f"random actions return {returns.min():.4g} to {returns.max():.4g} (normalised "
        f"{task.normalized_reward(float(returns.mean())):.2f}), cost {costs.min():.4g} to {costs.max():.4g} at "
        f"thresholds {limits}, last {lengths.min():.0f} to {lengths.max():.0f} of {task.horizon} steps{note}"
    )


def _seeds(task: Task) -> str:
    """The same seed and actions give the same numbers, on a fresh copy and on one that ran others."""
    with closing(make_batch(task, 1)) as used:
        first = _numbers(task, used, _SEED)
        _numbers(task, used, _OTHER)
        again = _numbers(task, used, _SEED)
    with closing(make_batch(task, 1)) as fresh:
        other = _numbers(task, fresh, _SEED)
    for numbers, where in ((again, "on an environment that ran another episode between"), (other, "on a fresh one")):
        _same(
            first,
            numbers,
            f"the same seed and actions give other numbers {where}; draw all randomness from self.np_random, and set "
            "everything anew in reset(seed=...)",
        )
    return f"the same seed and {STEPS} actions give the same numbers, on a fresh and on a used environment"


def _copies(task: Task) -> str:
    """Two copies in one process do not disturb one another."""
    with closing(make_batch(task, 1)) as alone:
        expected = _numbers(task, alone, _SEED)
    with closing(make_batch(task, 2)) as both:
        found = _numbers(task, both, _SEED, beside=_OTHER)
    _same(
        expected,
        found,
        "a second environment in the same process changes the numbers of the first; keep the state in self, not in "
        "the module, the class or NumPy's global random state",
    )
    return "two environments in one process do not disturb one another"


def _pictures(task: Task) -> str:
    if task.definition is not None:
        with closing(make_environment(task.name, task.definition)) as made:
            if "rgb_array" not in made.metadata.get("render_modes", ()):
                return "none; for `prefine render` name rgb_array in its metadata's render_modes"
    with closing(TaskEnv(task, "rgb_array")) as env:
        env.reset(seed=_SEED)
        picture = env.render()
    assert picture is not None
    return f"{picture.shape[1]} x {picture.shape[0]} pixels"


def _numbers(
    task: Task, batch: SimulatorBatch, seed: int, beside: int | None = None
) -> list[tuple[NDArray[np.float32], float, float, bool]]:
    """Observation, reward, cost and end of each step of an episode in the first copy, up to its end or STEPS."""
    rng = np.random.default_rng(1)
    rows = [(batch.reset(0, seed), 0.0, 0.0, False)]
    if beside is not None:
        batch.reset(1, beside)
    for _ in range(min(STEPS, task.horizon)):
        actions = np.repeat(rng.uniform(-1.0, 1.0, (1, task.act_dim)), batch.num_envs, axis=0)
        step = batch.step(actions)
        ended = bool(step.terminated[0]) or (step.truncated is not None and bool(step.truncated[0]))
        rows.append((step.observations[0], float(step.rewards[0]), float(step.costs[0]), ended))
        if ended:
            break
        if beside is not None and (step.terminated[1] or (step.truncated is not None and step.truncated[1])):
            batch.reset(1, beside)
    return rows


def _same(first: list, other: list, problem: str) -> None:
    for number, (ours, theirs) in enumerate(zip(first, other, strict=False)):
        if not (np.array_equal(ours[0], theirs[0]) and ours[1:] == theirs[1:]):
            raise OwnTaskError(f"{problem} (first at step {number})")
    if len(first) != len(other):
        raise OwnTaskError(f"{problem} (one episode has {len(first) - 1} steps, the other {len(other) - 1})")
