"""A single training job outside of a sweep: one task, one point of the grid, one policy per seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefine_ray.core.files import file_digest
from prefine_ray.experiment.cells import make_cells, make_packs
from prefine_ray.experiment.config import SweepConfig
from prefine_ray.experiment.job import TrainingJob, check_inputs
from prefine_ray.experiment.replicates import shared_inputs
from prefine_ray.methods.base import base_policy
from prefine_ray.tasks.registration import own_definitions
from prefine_ray.tasks.spec import get_task


def single_job(config: SweepConfig, data: Path, weight: float | None = None) -> TrainingJob:
    """The job of the first point of a configuration's grid, with one cell per seed.

    Args:
        config: the first of its tasks, methods and values of each axis count.
        data: a DSRL-schema file.
        weight: the reward/safety weight, one of the configuration's; None: the first above 0 where there is one.

    Raises:
        PolicyFileError, TrajectoryFileError, NotEnoughTrajectoriesError, LabelFileError: what is missing or wrong.
    """
    task = get_task(config.tasks[0])
    base = base_policy(task, config.base)
    files = (str(data.resolve()), file_digest(data), str(base), file_digest(base))
    inputs = {task.name: shared_inputs(*files, own_definitions([task.name]))}
    cells = make_cells(config, inputs)
    wanted = [cell for cell in cells if weight is None or cell.axes.get("weight", weight) == weight]
    first = next((cell for cell in wanted if not cell.is_control), wanted[0])
    same = [cell for cell in wanted if _point(cell.axes) == _point(first.axes) and cell.method == first.method]
    check_inputs(same, inputs)
    return TrainingJob(make_packs(same, set())[0], inputs[task.name])


def _point(values: Any) -> tuple[Any, ...]:
    return tuple(values.items())
