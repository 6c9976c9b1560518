"""Evaluation under other conditions: of finished cells, from their policy files, as far as rows are missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from prefine_ray.analysis.conditions import Evaluation, missing_evaluations
from prefine_ray.experiment.cells import BASE, Cell
from prefine_ray.orchestration.context import SweepContext
from prefine_ray.orchestration.evaluation import evaluate_cells
from prefine_ray.policies.files import load_policy
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.rollouts.conditions import Condition, get_condition

FINETUNED = "finetuned"  # stage of the rows of a fine-tuned policy; that of the others is BASE


def evaluate_pack(context: SweepContext, pack: str, cells: Sequence[Cell]) -> None:
    """Evaluates a finished pack's cells as far as the pack alone says which have to be.

    Where the tuning cells of a setting are in several packs, `evaluate_grid` picks its weight when all have ended.
    """
    results, conditions = context.results, cells[0].conditions
    if not conditions:
        return
    grid, trials, plain = results.read_grid(), results.read_part("trials", pack), results.read_part("episodes", pack)

    def missing() -> list[Evaluation]:
        episodes = pd.concat([plain, results.read_conditions(pack)], ignore_index=True)
        return missing_evaluations(grid, trials, episodes, conditions)

    _evaluate(context, cells, {cell.name: pack for cell in cells}, missing)


def evaluate_grid(context: SweepContext, cells: Sequence[Cell]) -> None:
    """Evaluates whatever is missing of a grid whose cells have all ended."""
    if cells[0].conditions:
        _evaluate(context, cells, context.results.owners(), lambda: missing_of(context, cells))


def missing_of(context: SweepContext, cells: Sequence[Cell]) -> list[Evaluation]:
    """The evaluations of a grid that are known to be needed and are not on disk."""
    if not cells[0].conditions:
        return []
    names, grid = {cell.name for cell in cells}, pd.DataFrame([cell.identity for cell in cells])
    trials, episodes = (context.results.read(kind, names) for kind in ("trials", "episodes"))
    return missing_evaluations(grid, trials, episodes, cells[0].conditions)


def _evaluate(
    context: SweepContext, cells: Sequence[Cell], owners: Mapping[str, str], missing: Callable[[], list[Evaluation]]
) -> None:
    """Evaluates until nothing is missing: once tuning cells are evaluated, the picked weights are.

    Args:
        context: of the sweep.
        cells: all that may be missing.
        owners: their packs.
        missing: reads what is missing now from disk.
    """
    by_name = {cell.name: cell for cell in cells}
    while found := missing():
        groups: dict[tuple[str, str], list[Cell]] = {}
        for name, condition in found:
            groups.setdefault((owners[name], condition), []).append(by_name[name])
        for (pack, condition), group in groups.items():
            rows = _rows(context, pack, group, get_condition(condition))
            context.results.write_conditions(pack, condition, rows)


def _rows(context: SweepContext, pack: str, cells: Sequence[Cell], condition: Condition) -> pd.DataFrame:
    """The rows of one pack's cells under a condition; where it changes nothing, the plain ones."""
    stage = BASE if cells[0].method == BASE else FINETUNED
    if not condition.changes(cells[0].task):
        plain = context.results.read_part("episodes", pack)
        return plain[plain["cell"].isin([cell.name for cell in cells])].assign(stage=condition.stage(stage))
    return evaluate_cells(context, cells, [_policy(context, cell) for cell in cells], stage, condition)


def _policy(context: SweepContext, cell: Cell) -> GaussianPolicy:
    if cell.method == BASE:
        return load_policy(context.inputs[cell.task].of(cell.seed).base_path)
    return load_policy(context.results.policy_path(cell.name))
