"""Warm start of a pretraining run: a periodic gait is searched for and the policy cloned from it.

PPO's step-by-step noise does not find Swimmer's gaits: it settles in poor ones. A handful of parameters of a periodic
gait are found in seconds by the cross-entropy method, and PPO goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prefine_ray.pretrain_recipes import GaitSearch, Recipe
from prefine_ray.pretrain_rllib import FIRST_SEED, ActorCritic
from prefine_ray.simulators.vector import VectorStepper
from prefine_ray.tasks import Task

FloatArray = NDArray[np.float64]

COPIES = 48  # gaits of a generation, and episodes that the policy is cloned from
ELITE = 10
SEARCH_STEPS = 400  # of an episode
NOISE = 0.2  # of the actions that the policy is cloned from, so that it learns to come back to the gait
LOG_STD = -1.5  # of the policy's actions after cloning
CLONING_UPDATES = 1500
BATCH = 512


def warm_start(task: Task, recipe: Recipe, module: ActorCritic, seed: int) -> None:
    """Searches a gait and makes the policy of `module` act like it, with the observations' normalisation set."""
    assert recipe.gait is not None
    rng = np.random.default_rng((seed, 0x6A17))
    stepper = VectorStepper(task, COPIES)
    parameters = search_gait(stepper, recipe, recipe.gait, rng)
    observations, actions = _demonstrations(stepper, recipe.gait, parameters, rng)
    stepper.close()
    _clone(module, observations, actions, torch.Generator().manual_seed(seed))


def search_gait(stepper: VectorStepper, recipe: Recipe, gait: GaitSearch, rng: np.random.Generator) -> FloatArray:
    """The parameters of a gait that earns most reward less `recipe.guide` per unit of excess over the limits."""
    mean, deviation = (np.array(row, dtype=np.float64) for row in gait.prior)
    for _ in range(gait.generations):
        candidates = mean + deviation * rng.standard_normal((COPIES, len(mean)))
        scores = np.zeros(COPIES)

        def score(step: Any, scores: FloatArray = scores) -> None:
            scores += step.rewards - recipe.guide * np.maximum(0.0, recipe.excess(step.next_observations))

        _run(stepper, gait, candidates, SEARCH_STEPS, lambda actions: actions, score)
        elite = candidates[np.argsort(-scores)[:ELITE]]
        mean = 0.2 * mean + 0.8 * elite.mean(axis=0)
        deviation = 0.3 * deviation + 0.7 * elite.std(axis=0)
    return mean


def gait_actions(
    gait: GaitSearch, parameters: FloatArray, observations: NDArray[np.float32], time: float
) -> FloatArray:
    """Actions [N, 2] that drive two joints after sine waves.

    Args:
        gait: where the joints are in the observation.
        parameters: [N, 6]: log of the angular frequency (rad/s), amplitudes (2), phase of the second joint (rad),
            gains on the angle and on the angular velocity.
        observations: [N, obs_dim].
        time: s, since the episode's start.
    """
    phase = np.exp(parameters[:, 0]) * time
    target = parameters[:, 1:3] * np.sin(np.stack([phase, phase + parameters[:, 3]], axis=1))
    angles, speeds = observations[:, list(gait.angles)], observations[:, list(gait.speeds)]
    return parameters[:, 4:5] * (target - angles) - parameters[:, 5:6] * speeds


def _run(
    stepper: VectorStepper,
    gait: GaitSearch,
    parameters: FloatArray,
    steps: int,
    disturb: Callable[[FloatArray], FloatArray],
    look: Callable[[Any], None],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Observations and undisturbed actions [steps, N, ...] of gaits; `look` is shown each step."""
    observations = stepper.reset(count(FIRST_SEED))
    seen, done = [], []
    for number in range(steps):
        actions = gait_actions(gait, parameters, observations, number * gait.step_s)
        seen.append(observations)
        done.append(actions.clip(-1.5, 1.5).astype(np.float32))
        step = stepper.step(disturb(actions).clip(-1.0, 1.0))
        look(step)
        observations = step.observations
    return np.stack(seen), np.stack(done)


def _demonstrations(
    stepper: VectorStepper, gait: GaitSearch, parameters: FloatArray, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Observations [B, obs_dim] under disturbed actions, and what the gait would do there [B, act_dim]."""

    def disturb(actions: FloatArray) -> FloatArray:
        return actions + NOISE * rng.standard_normal(actions.shape)

    pair = _run(stepper, gait, np.tile(parameters, (COPIES, 1)), SEARCH_STEPS, disturb, lambda step: None)
    observations, actions = (array.reshape(-1, array.shape[-1]) for array in pair)
    return observations, actions


def _clone(
    module: ActorCritic,
    observations: NDArray[np.float32],
    actions: NDArray[np.float32],
    generator: torch.Generator,
) -> None:
    module.update_observation_statistics(observations)
    inputs, targets = torch.from_numpy(observations), torch.from_numpy(actions)
    policy = module.policy
    optimizer = torch.optim.Adam(policy.parameters(), lr=2e-3)
    for _ in range(CLONING_UPDATES):
        chosen = torch.randint(len(inputs), (BATCH,), generator=generator)
        loss = (policy(inputs[chosen][None])[0][0] - targets[chosen]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    with torch.no_grad():
        policy.log_std.fill_(LOG_STD)
