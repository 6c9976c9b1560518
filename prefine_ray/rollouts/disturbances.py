"""What comes between a policy and a simulator: noise on actions and observations, and late actions, [N] copies each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.seeding import derive
from prefine_ray.simulators import VectorStepper

Singles = NDArray[np.float32]


class EpisodeNoise:
    """Standard normal noise for each copy, drawn per episode so that no episode disturbs another.

    Args:
        stepper: its copies, which have begun their first episodes.
        width: numbers per step.
        seed_of: the seed of the noise of the episode that a copy (by its index) is about to run; asked once for every
            episode, in the order in which they start.
    """

    def __init__(self, stepper: VectorStepper, width: int, seed_of: Callable[[int], int]):
        self._stepper, self._seed_of = stepper, seed_of
        self._time = np.zeros(stepper.num_envs, dtype=np.int64)
        self._values = np.zeros((stepper.num_envs, stepper.task.horizon, width), dtype=np.float32)
        self._start(range(stepper.num_envs))

    def now(self) -> Singles:
        """[N, width] for the present step."""
        return self._values[np.arange(len(self._time)), self._time]

    def advance(self, ended: NDArray[np.bool_]) -> None:
        """To the next step; copies marked in `ended` [N] begin the next episode."""
        self._time += self._stepper.active
        self._start(np.flatnonzero(ended).tolist())

    def _start(self, copies: Iterable[int]) -> None:
        for copy in copies:
            generator = np.random.Generator(np.random.Philox(self._seed_of(copy)))
            generator.standard_normal(dtype=np.float32, out=self._values[copy])
            self._time[copy] = 0


class ObservationNoise:
    """Noise on what the policies see.

    Args:
        stepper: its copies, which have begun their first episodes.
        sigma: [N, obs_dim] standard deviations.
    """

    def __init__(self, stepper: VectorStepper, sigma: Singles):
        self._sigma = sigma
        self._noise = EpisodeNoise(stepper, stepper.task.obs_dim, lambda copy: _noise_seed(stepper, copy))

    def seen(self, observations: Singles) -> Singles:
        """What the policies see of `observations` [N, obs_dim]."""
        return observations + self._sigma * self._noise.now()

    def advance(self, ended: NDArray[np.bool_]) -> None:
        """To the next step; copies marked in `ended` [N] have begun the next episode."""
        self._noise.advance(ended)


class ActionDelay:
    """Actions that come late.

    Args:
        steps: by how many.
        shape: of the actions, [N, act_dim].
    """

    def __init__(self, steps: int, shape: tuple[int, int]):
        self._waiting = deque(np.zeros(shape, dtype=np.float32) for _ in range(steps))

    def arrived(self, actions: Singles) -> Singles:
        """The actions [N, act_dim] that act now, where `actions` are those decided now."""
        self._waiting.append(actions)
        return self._waiting.popleft()

    def forget(self, ended: NDArray[np.bool_]) -> None:
        """Copies marked in `ended` [N] have begun the next episode: nothing is on its way there."""
        if ended.any():
            kept = ~ended[:, None]
            self._waiting = deque(np.where(kept, actions, np.float32(0.0)) for actions in self._waiting)


def _noise_seed(stepper: VectorStepper, copy: int) -> int:
    return derive(int(stepper.episode_seeds[copy]), "observation noise")
