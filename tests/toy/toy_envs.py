"""Environments as users write them: good ones of several kinds, and ones with a single thing wrong."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

HORIZON = 20
shared = [0.0]  # what no environment should keep in its module


class Walk(gymnasium.Env):
    """A walk on a line with a random start; over the edge costs."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = Box(-np.inf, np.inf, (2,), np.float64)
    action_space = Box(np.array([0.0, -4.0]), np.array([2.0, 4.0]), dtype=np.float64)

    def __init__(self, render_mode=None):
        self.render_mode, self.place, self.taken = render_mode, 0.0, None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.normal()
        return self.observe(), {}

    def step(self, action):
        self.taken = np.array(action)
        self.place += float(action[0]) - 1.0 + 0.1 * float(action[1]) + 0.01 * self.np_random.normal()
        return self.observe(), self.reward(), False, False, self.info()

    def observe(self):
        return np.array([self.place, self.place**2])

    def reward(self):
        return np.float64(self.place)

    def info(self):
        return {"cost": np.float32(self.place > 0.5)}

    def render(self):
        return np.zeros((4, 6, 3), np.uint8)


class Parts(Walk):
    """Observations in a Dict."""

    observation_space = Dict(place=Box(-9, 9, (1,)), more=Dict(square=Box(-9, 99, (2,))))

    def observe(self):
        place = np.float32(np.clip(self.place, -9, 9))
        return {"place": np.array([place]), "more": {"square": np.array([place**2, 1.0], np.float32)}}


class SixValues(Walk):
    """The cost as the third of six values, as in Safety-Gymnasium."""

    def step(self, action):
        observation, reward, *ends, _ = super().step(action)
        return observation, reward, 3.0, *ends, {}


class Short(Walk):
    """Truncates by itself at its third step and falls at once where it starts far to the left."""

    def reset(self, **options):
        self.steps = 0
        return super().reset(**options)

    def step(self, action):
        observation, reward, *_, info = super().step(action)
        self.steps += 1
        return observation, reward, self.place < -50.0, self.steps == 3, info


class NoPictures(Walk):
    metadata = {"render_modes": []}  # noqa: RUF012


class GlobalRandom(Walk):
    def reward(self):
        return np.random.random()


class CarriesOver(Walk):
    total = 0.0

    def reward(self):
        self.total += 1.0
        return self.total


class SharesState(Walk):
    def reward(self):
        shared[0] += 1.0
        return shared[0] % 7

    def reset(self, **options):
        shared[0] = 0.0
        return super().reset(**options)


class Choices(Walk):
    action_space = Discrete(3)


class Unbounded(Walk):
    action_space = Box(-np.inf, np.inf, (2,))


class Camera(Walk):
    observation_space = Box(0, 255, (8, 8, 3), np.uint8)


class Words(Walk):
    observation_space = Dict(place=Box(-1, 1, (1,)), kind=Discrete(2))


class NoCost(Walk):
    def info(self):
        return {"hazard": 1.0}


class NegativeCost(Walk):
    def info(self):
        return {"cost": -1.0}


class NaNCost(Walk):
    def info(self):
        return {"cost": float("nan")}


class WordCost(Walk):
    def info(self):
        return {"cost": "much"}


class NaNReward(Walk):
    def reward(self):
        return float("nan")


class NaNObservation(Walk):
    def observe(self):
        return np.array([np.nan, 0.0])


class WrongSize(Walk):
    def observe(self):
        return np.zeros(3)


class OldReset(Walk):
    def reset(self, **options):
        return super().reset(**options)[0]


class OldStep(Walk):
    def step(self, action):
        observation, reward, ended, _, info = super().step(action)
        return observation, reward, ended, info


class BadPicture(Walk):
    def render(self):
        return "\n"


class Raises(Walk):
    def step(self, action):
        raise ZeroDivisionError("division by zero")


def broken(render_mode=None):
    raise OSError("no scene file")


def no_environment():
    return 3


DEFINITION = {
    "env": "toy_envs:Walk",
    "thresholds": [2, 5, 10],
    "reward_range": [-10, 10],
    "horizon": HORIZON,
}
if "ToyWalk-v0" not in gymnasium.registry:  # a test may import this file under two names
    gymnasium.register("ToyWalk-v0", Walk, max_episode_steps=HORIZON)
    gymnasium.register("ToyEndless-v0", Walk)
