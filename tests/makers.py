"""Small real things that several tests need: policies, and episodes of them in the simulator."""

from functools import cache

import numpy as np

from prefine_ray.core.seeding import torch_generator
from prefine_ray.data.trajectories import Trajectories, concatenate
from prefine_ray.methods.population import Member
from prefine_ray.methods.prefine.learner import PrefineLearner
from prefine_ray.methods.prefine.method import PREFINE
from prefine_ray.methods.prefine.settings import FineTuneAdvanced, FineTuneSettings
from prefine_ray.policies.gaussian import Architecture, GaussianPolicy
from prefine_ray.rollouts.counterfactuals import CounterfactualGenerator, LocalSource
from prefine_ray.rollouts.rollout import rollout
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import get_task

PREFERRED, DISPREFERRED = np.arange(5), np.arange(5, 8)  # of `ball_run_episodes`


def small_policy(task: str = "BallRun", seed: int = 0, population: int = 1, **settings) -> GaussianPolicy:
    """A random policy with two hidden layers of 16."""
    known = get_task(task)
    architecture = Architecture(known.obs_dim, known.act_dim, **{"hidden": (16, 16), **settings})
    return GaussianPolicy(architecture, population, torch_generator(seed, "small policy"))


@cache
def ball_run_episodes() -> Trajectories:
    """Eight noisy episodes on BallRun with their reset seeds, 100 steps each: 0 to 4 of one policy, 5 to 7 of another.

    The policies' actions differ at equal states, so that a preference between them can be learned.
    """
    stepper = VectorStepper("BallRun", 4)
    first = rollout(small_policy(), stepper, np.arange(100, 105), noise_seed=1)
    second = rollout(small_policy(seed=8), stepper, np.arange(105, 108), noise_seed=2)
    stepper.close()
    return concatenate([first, second])


def finetune_config(**settings) -> FineTuneSettings:
    """Settings of a short fine-tuning."""
    advanced = {"log_every": 1, "refresh_every": 5, "window_episodes": 2}
    advanced |= {key: settings.pop(key) for key in FineTuneAdvanced.model_fields if key in settings}
    return FineTuneSettings(**{"steps": 40, "batch_size": 32, **settings}, advanced=advanced)


def small_learner(weights=(1.0,), seeds=None, reference=None, counterfactuals="learner", **settings) -> PrefineLearner:
    """A learner on BallRun episodes; counterfactuals of actors come from this process."""
    config = finetune_config(**settings)
    episodes = ball_run_episodes()
    mode = PREFINE.modes.get(counterfactuals)
    source = None if mode is None else LocalSource(CounterfactualGenerator("BallRun", episodes, mode))
    members = [
        Member(weight, PREFERRED, DISPREFERRED, seed)
        for weight, seed in zip(weights, seeds or [0] * len(weights), strict=True)
    ]
    return PrefineLearner(reference or small_policy(), episodes, members, config, mode=mode, source=source)
