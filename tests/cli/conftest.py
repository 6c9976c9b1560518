from __future__ import annotations

from pathlib import Path

import pytest

from prefine_ray.data.hdf5 import write_dsrl
from prefine_ray.experiment.config import DataConfig
from prefine_ray.rollouts.collection import assemble, behaviours, plan_units
from prefine_ray.rollouts.rollout import run_unit
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import get_task

EPISODES = 60


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set that `prefine data collect --task BallRun --episodes 60` makes, without Ray."""
    task, config = get_task("BallRun"), DataConfig(episodes=EPISODES)
    chosen = behaviours(task, "zoo")
    units = plan_units(task, config, chosen)
    stepper = VectorStepper(task.name, units[0].copies)
    parts = [run_unit(unit, stepper) for unit in units]
    stepper.close()
    folder = tmp_path_factory.mktemp("data")
    write_dsrl(folder / "BallRun-60-here.hdf5", assemble(task, config, parts, len(chosen)), {"task": task.name})
    return folder
