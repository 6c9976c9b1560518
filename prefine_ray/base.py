"""The base policy of a task: what fine-tuning starts from and stays close to."""

from __future__ import annotations

from pathlib import Path

from prefine_ray.collect import ZOO
from prefine_ray.policy import load_policy_for
from prefine_ray.tasks import Task


def base_policy(task: Task, choice: str) -> Path:
    """The base policy's file.

    Args:
        task: the task.
        choice: "zoo", the shipped base policy; or a file's path, in which {task} stands for the task's name.

    Raises:
        PolicyFileError: there is no such file, it is damaged, or its policy is not for this task.
    """
    path = ZOO / task.name / "base.safetensors" if choice == "zoo" else Path(choice.format(task=task.name))
    load_policy_for(task, path)
    return path.resolve()
