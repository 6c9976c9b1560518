"""A results folder as TensorBoard event files: one run per cell, with its learning curves and evaluation means."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.files import write_text
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tracking.cell_record import CellRows, read_part


def write_events(results: ResultsDir) -> int:
    """Writes DIR/tensorboard/<task>/<cell's label>/events...; parts that are there already are left as they are.

    Damaged parts are left out: `prefine sync` names them.

    Returns:
        The number of cells written by this call.
    """
    count = 0
    bar = tqdm(results.part_versions().items(), "TensorBoard", unit="pack", delay=5, leave=False)
    for part, version in bar:
        count += sum(1 for _ in _write_part(results, part, version))
    return count


def _write_part(results: ResultsDir, part: str, version: str) -> Iterator[str]:
    mark = results.tensorboard_folder / ".parts" / part
    if mark.exists() and mark.read_text() == version:
        return
    try:
        cells = read_part(results, part)
    except DamagedFileError:
        return
    for name, cell in cells.items():
        if not cell.failed:
            _write_cell(results.tensorboard_folder / cell.trial["task"] / f"{cell.label} {name[:6]}", cell)
            yield name
    write_text(mark, version)


def _write_cell(folder: Path, cell: CellRows) -> None:
    from tensorboardX import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as writer:
        for (name, step), value in sorted(cell.metrics().items()):
            writer.add_scalar(name, value, step, walltime=cell.ended_ms / 1000)
