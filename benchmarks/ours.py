"""What is measured of this project: the engines' bare steps, the single environment, the vector stepper."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Sample, timed_loop
from prefine_ray.policies.gaussian import Architecture, GaussianPolicy
from prefine_ray.simulators import VectorStepper, make_env
from prefine_ray.tasks.spec import Task, get_task

PHYSICS_STEPS = 1000  # recorded, then replayed again and again
LOG_STD = 0.0  # of all policies here and of the peers': actions are unit noise, clipped


def random_actions(task: Task, steps: int, seed: int = 0) -> np.ndarray:
    """Actions [steps, act_dim] such as a new policy takes: unit noise, clipped."""
    noise = np.random.default_rng(seed).standard_normal((steps, task.act_dim), dtype=np.float32)
    return noise.clip(-1.0, 1.0)


class PhysicsLoop:
    """The engine's step function alone, in a bare loop over one copy.

    First an episode is run as our environment runs it and its controls are recorded; then they are replayed on
    the engine, and only the step function's time counts. Resets are not counted.
    """

    def __init__(self, task: str):
        self._task = get_task(task)
        kind = _BulletReplay if self._task.suite == "bullet" else _MujocoReplay
        self._replay = kind(self._task)
        self._turns = itertools.cycle(self._replay.episodes)

    def run(self, seconds: float) -> Sample:
        """Replays whole episodes until the step function has taken `seconds`."""
        steps, spent, started, cpu = 0, 0.0, time.perf_counter(), time.process_time()
        while spent < seconds:
            seed, controls = next(self._turns)
            spent += self._replay.run(seed, controls)
            steps += len(controls)
        share = (time.process_time() - cpu) / (time.perf_counter() - started)
        return Sample(steps, spent, spent * min(share, 1.0))

    def close(self) -> None:
        """Frees the engine."""
        self._replay.batch.close()


class _Replay:
    """Records episodes of one copy: (reset seed, controls of each step)."""

    def __init__(self, task: Task, batch: Any, control: Callable[[np.ndarray], Any]):
        self.batch = batch
        self.episodes: list[tuple[int, list[Any]]] = []
        left = PHYSICS_STEPS
        for seed in itertools.count():
            batch.reset(0, seed)
            controls: list[Any] = []
            for action in random_actions(task, min(left, task.horizon), seed):
                controls.append(control(action[None]))
                if batch.step(action[None]).terminated[0]:
                    break
            self.episodes.append((seed, controls))
            left -= len(controls)
            if left <= 0:
                break


class _MujocoReplay(_Replay):
    def __init__(self, task: Task):
        from prefine_ray.simulators import goal, velocity

        if task.velocity_threshold is None:
            batch: Any = goal.GoalBatch(task, 1)
            self._model, self._data = batch._copies[0].model, batch._copies[0].data
            self._frame_skip = goal._FRAME_SKIP
        else:
            batch = velocity.VelocityBatch(task, 1)
            self._model, self._data, self._frame_skip = batch._model, batch._data[0], batch._robot.frame_skip
        super().__init__(task, batch, lambda actions: actions[0].astype(np.float64))

    def run(self, seed: int, controls: list[Any]) -> float:
        """Seconds that the engine took for an episode."""
        from prefine_ray.simulators.upstream import mujoco

        self.batch.reset(0, seed)
        model, data, target, skip = self._model, self._data, self._data.ctrl, self._frame_skip
        step, clock, spent = mujoco.mj_step, time.perf_counter, 0.0
        for control in controls:
            target[:] = control
            before = clock()
            step(model, data, skip)
            spent += clock() - before
        return spent


class _BulletReplay(_Replay):
    def __init__(self, task: Task):
        from prefine_ray.simulators.bullet import BulletBatch

        batch = BulletBatch(task, 1)
        super().__init__(task, batch, lambda actions: batch._agent._commands(actions.astype(np.float64), True)[0])

    def run(self, seed: int, controls: list[Any]) -> float:
        """Seconds that the engine took for an episode."""
        from prefine_ray.simulators.bullet_scene import pybullet

        self.batch.reset(0, seed)
        (client, body), drive = self.batch._agent._handles[0], self.batch._agent._drive
        step, clock, spent = pybullet.stepSimulation, time.perf_counter, 0.0
        for control in controls:
            drive(client, body, control)
            before = clock()
            step(client)
            spent += clock() - before
        return spent


class SingleLoop:
    """`prefine_ray.make_env`, one copy, recorded random actions, no policy."""

    def __init__(self, task: str):
        self._env = make_env(task)
        self._actions = itertools.cycle(random_actions(self._env.task, 4096))
        self._seeds = itertools.count()
        self._env.reset(seed=next(self._seeds))

    def _step(self) -> int:
        _, _, terminated, truncated, _ = self._env.step(next(self._actions))
        if terminated or truncated:
            self._env.reset(seed=next(self._seeds))
        return 1

    def run(self, seconds: float) -> Sample:
        """Steps with auto-reset."""
        return timed_loop(self._step, seconds)

    def close(self) -> None:
        """Frees the simulator."""
        self._env.close()


class VectorLoop:
    """`VectorStepper` with one call of a policy per step; resets included."""

    def __init__(self, task: str, copies: int, hidden: tuple[int, ...] = (256, 256)):
        torch.set_num_threads(1)
        self._stepper = VectorStepper(task, copies)
        self._generator = torch.Generator().manual_seed(0)
        architecture = Architecture(self._stepper.task.obs_dim, self._stepper.task.act_dim, hidden)
        self._policy = GaussianPolicy(architecture, generator=self._generator)
        with torch.no_grad():
            self._policy.log_std.fill_(LOG_STD)
        self._observations = self._stepper.reset(itertools.count())

    def _step(self) -> int:
        actions = self._policy.act(self._observations, deterministic=False, generator=self._generator)
        self._observations = self._stepper.step(actions).observations
        return self._stepper.num_envs

    def run(self, seconds: float) -> Sample:
        """Steps with auto-reset."""
        return timed_loop(self._step, seconds)

    def close(self) -> None:
        """Frees the simulators."""
        self._stepper.close()
