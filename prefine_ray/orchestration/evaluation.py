"""Evaluation on the rollout actors: many cells' policies in one batch, one row per episode."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from prefine_ray.experiment.cells import Cell
from prefine_ray.orchestration.context import SweepContext
from prefine_ray.orchestration.ray_actors import map_units
from prefine_ray.policies.files import policy_bytes
from prefine_ray.policies.gaussian import GaussianPolicy, PolicyHeader, stack
from prefine_ray.rollouts.conditions import PLAIN, Condition
from prefine_ray.rollouts.evaluation import episode_rows, evaluation_seeds
from prefine_ray.rollouts.rollout import RolloutUnit, rollout_copies
from prefine_ray.tasks.spec import get_task


def evaluate_cells(
    context: SweepContext,
    cells: Sequence[Cell],
    policies: Sequence[GaussianPolicy],
    stage: str,
    condition: Condition = PLAIN,
) -> pd.DataFrame:
    """Rows of the evaluation episodes of each cell's policy, many policies in one batch, on the rollout actors.

    None of a task without an environment.

    Args:
        context: of the sweep.
        cells: of one task, with the same number of episodes.
        policies: of each cell.
        stage: "base" or "finetuned"; rows have the condition's name with it.
        condition: under which the policies are evaluated.
    """
    if not cells or not get_task(cells[0].task).has_environment:
        return pd.DataFrame()
    episodes = cells[0].episodes
    at_once = 1 if condition.carry_over else episodes
    parts = evaluation_parts(len(cells), at_once, rollout_copies(cells[0].task), len(context.actors))
    units = [evaluation_unit(cells[part], policies[part], condition) for part in parts]
    tables = map_units(context.actors, "table", units)
    rows = []
    for part, table in zip(parts, tables, strict=True):
        for number, cell in enumerate(cells[part]):
            own = table.episodes.part(number * episodes, (number + 1) * episodes)
            rows += episode_rows(cell.identity, condition.stage(stage), own, table.machine)
    return pd.DataFrame(rows)


def evaluation_parts(cells: int, episodes: int, copies: int, actors: int) -> list[slice]:
    """Divides cells into parts of about equal size: of at most about `copies` episodes, and one for each actor.

    `episodes`: how many of a cell run at once.
    """
    parts = max(1, min(cells, max(math.ceil(cells * episodes / copies), actors)))
    size = math.ceil(cells / parts)
    return [slice(first, min(first + size, cells)) for first in range(0, cells, size)]


def evaluation_unit(
    cells: Sequence[Cell], policies: Sequence[GaussianPolicy], condition: Condition = PLAIN
) -> RolloutUnit:
    """The evaluation episodes of each cell's policy as one batch, cell after cell."""
    task = cells[0].task
    seeds = np.concatenate([evaluation_seeds(c.experiment_seed, task, c.seed, c.episodes) for c in cells])
    copies = len(cells) if condition.carry_over else len(seeds)
    return RolloutUnit(task, policy_bytes(stack(policies), PolicyHeader(task)), seeds, copies, condition=condition)
