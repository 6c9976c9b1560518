"""The simulators behind the tasks: batches of copies, the vector stepper, and single gymnasium environments."""

from __future__ import annotations

from prefine_ray.simulators.batch import BatchStep, SimulatorBatch, carries_over, make_batch
from prefine_ray.simulators.env import TaskEnv
from prefine_ray.simulators.vector import VectorStep, VectorStepper
from prefine_ray.tasks.spec import Task

__all__ = [
    "BatchStep",
    "SimulatorBatch",
    "TaskEnv",
    "VectorStep",
    "VectorStepper",
    "carries_over",
    "make_batch",
    "make_env",
]


def make_env(task: str | Task, render_mode: str | None = None) -> TaskEnv:
    """The task as a gymnasium environment: float32 observations and actions, the cost in `info["cost"]`.

    Example:
        env = make_env("BallRun")
        observation, _ = env.reset(seed=0)
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())

    Raises:
        UnknownTaskError: no task has this name.
        OwnTaskError: an own task has no environment, or one that is refused.
    """
    return TaskEnv(task, render_mode)
