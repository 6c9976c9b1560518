"""Warm start of a pretraining run: a simple controller is searched for and the policy cloned from it.

Where PPO alone settles in a poor gait (SwimmerVelocity wriggles, BallCircle bounces off the walls), the handful of
parameters of a controller are found in seconds by the cross-entropy method, and PPO continues from there.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray

from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.pretrain.recipes import Recipe
from prefine_ray.pretrain.rllib import FIRST_SEED, ActorCritic
from prefine_ray.simulators.vector import VectorStep, VectorStepper
from prefine_ray.tasks.spec import Task

Floats = NDArray[np.float64]
Demonstrations = tuple[NDArray[np.float32], NDArray[np.float32]]

COPIES = 48  # controllers of a generation, and episodes that the policy is cloned from
ELITE = 10
SEARCH_STEPS = 400  # of an episode, at most
NOISE = 0.2  # of the actions in the episodes that are cloned, so that the policy learns to come back
LARGEST_ACTION = 1.5  # that the policy is made to imitate; beyond 1 simulators clip
CLONING_UPDATES = 1500  # of a round of cloning; four times as many in the last of several
OVER_LIMIT = 100.0  # reward lost per step of cost over the limit on the episode cost
BATCH = 512


def warm_start(task: Task, recipe: Recipe, module: ActorCritic, seed: int, limit: float | None = None) -> None:
    """Searches a controller and makes the policy of `module` act like it; sets its normalisation of observations.

    With a `limit` on the episode cost, it is one that keeps to that.
    """
    rng = np.random.default_rng((seed, 0x57A7))
    stepper = VectorStepper(task, COPIES)
    parameters = search_controller(stepper, recipe, rng, limit)
    parts: list[Demonstrations] = []
    for round_ in range(recipe.imitation_rounds):
        # From the second on: where the policy itself comes to, what would the controller do?
        policy = module.policy if round_ else None
        parts.append(demonstrate(stepper, recipe, parameters, rng, policy, FIRST_SEED + round_ * COPIES))
        observations, actions = (np.concatenate(column) for column in zip(*parts, strict=True))
        if not round_:
            module.update_observation_statistics(observations)
        last_of_several = round_ and round_ == recipe.imitation_rounds - 1
        updates = CLONING_UPDATES * (4 if last_of_several else 1)
        _clone(module.policy, torch.from_numpy(observations), torch.from_numpy(actions), updates, seed)
    with torch.no_grad():
        module.policy.log_std.fill_(recipe.start_log_std)
    stepper.close()


def search_controller(
    stepper: VectorStepper, recipe: Recipe, rng: np.random.Generator, limit: float | None = None
) -> Floats:
    """Parameters of the controller that earns most reward less what it is punished for.

    That is `recipe.guide` per unit of excess over the limits or, with a `limit` on the episode cost, OVER_LIMIT per
    step of cost over it.
    """
    assert recipe.start is not None
    mean, deviation = (np.array(row) for row in recipe.start.prior)
    for _ in range(recipe.generations):
        candidates = mean + deviation * rng.standard_normal((COPIES, len(mean)))
        scores, costs = np.zeros(COPIES), np.zeros(COPIES)

        def score(step: VectorStep, scores: Floats = scores, costs: Floats = costs) -> None:
            costs += step.costs
            if limit is None:
                scores += step.rewards - recipe.guide * np.maximum(0.0, recipe.excess(step.next_observations))
            else:
                scores += step.rewards - OVER_LIMIT * step.costs * (costs > limit)

        _run(stepper, recipe, candidates, lambda _, actions: actions, score)
        elite = candidates[np.argsort(-scores)[:ELITE]]
        mean = 0.2 * mean + 0.8 * elite.mean(axis=0)
        deviation = 0.3 * deviation + 0.7 * elite.std(axis=0)
    return mean


def demonstrate(
    stepper: VectorStepper,
    recipe: Recipe,
    parameters: Floats,
    rng: np.random.Generator,
    policy: GaussianPolicy | None = None,
    first_seed: int = FIRST_SEED,
) -> Demonstrations:
    """Observations [B, obs_dim] under disturbed actions, and what the controller would do there [B, act_dim].

    Where there is a `policy`, its actions are taken (DAgger: Ross et al., arXiv 1011.0686). Episodes are reset with
    `first_seed` and those after it.
    """

    def act(observations: NDArray[np.float32], actions: Floats) -> Floats:
        taken = actions if policy is None else policy.act(observations).astype(np.float64)
        return taken + NOISE * rng.standard_normal(actions.shape)

    return _run(stepper, recipe, np.tile(parameters, (COPIES, 1)), act, lambda step: None, first_seed)


def _run(
    stepper: VectorStepper,
    recipe: Recipe,
    parameters: Floats,
    act: Callable[[NDArray[np.float32], Floats], Floats],
    look: Callable[[VectorStep], None],
    first_seed: int = FIRST_SEED,
) -> Demonstrations:
    """One episode of each controller [N, K]: observations, and its actions there; `look` is shown each step.

    The actions taken are what `act` makes of both.
    """
    assert recipe.start is not None
    observations = stepper.reset(count(first_seed))
    seen, done = [], []
    for number in range(min(SEARCH_STEPS, stepper.task.horizon)):
        actions = recipe.start.actions(parameters, observations, number)
        seen.append(observations)
        done.append(actions.clip(-LARGEST_ACTION, LARGEST_ACTION).astype(np.float32))
        step = stepper.step(act(observations, actions).clip(-1.0, 1.0))
        look(step)
        observations = step.observations
    return np.concatenate(seen), np.concatenate(done)


def _clone(policy: GaussianPolicy, observations: torch.Tensor, actions: torch.Tensor, updates: int, seed: int) -> None:
    """Least squares with Adam, its rate falling to 0 along a cosine."""
    optimizer, generator = torch.optim.Adam(policy.parameters(), lr=2e-3), torch.Generator().manual_seed(seed)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for _ in range(updates):
        chosen = torch.randint(len(observations), (BATCH,), generator=generator)
        loss = (policy(observations[chosen][None])[0][0] - actions[chosen]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    optimizer.zero_grad()
