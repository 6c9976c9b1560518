"""A results folder as a large sweep leaves it, without the training: the grid, packs, rows and policy files of N cells.

    python -m benchmarks.results_folder DIR --cells 100000 [--shape settings|replicates] [--cells-per-pack 96]

Everything is written by the project's own writers; only the scores, which move with the weight, and the policies'
weights are made up. The policies are small ([8, 8] hidden units, 6 kB instead of the usual 280), since they are neither
read nor compared here beyond their checksum: `--hidden 256 256` writes full ones.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prefine_ray.core.provenance import made_with
from prefine_ray.core.seeding import numpy_generator, torch_generator
from prefine_ray.experiment.cells import BASE, Cell, Pack, base_cells, make_cells, make_packs
from prefine_ray.experiment.config import SweepConfig, dump_config, make_config
from prefine_ray.experiment.replicates import TaskInputs, shared_inputs
from prefine_ray.policies.architecture import Architecture
from prefine_ray.policies.files import policy_bytes
from prefine_ray.policies.gaussian import GaussianPolicy, PolicyHeader
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tasks.spec import BENCHMARK, get_task

EPISODES, POINTS, STEP = 20, 21, 25  # of a cell: evaluation episodes; points of the learning curves, steps between them
CURVES = ("loss", "loss_safety", "loss_reward", "margin_preferred", "margin_dispreferred", "accuracy", "kl", "entropy")
SHAPES = ("settings", "replicates")
_SEEDS = 5  # reported ones, and as many to pick the weight on, where it is the settings that are many
_WEIGHTS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 100.0)


def grid_config(count: int, shape: str = "settings") -> SweepConfig:
    """The configuration of a grid of about `count` cells on all tasks of the benchmark.

    Args:
        count: the number of cells.
        shape: what grows with it: "settings" (thresholds, N_p, wrong labels, kinds of preferred trajectories) at ten
            seeds each, or "replicates", the seeds of ten weights.
    """
    points = max(1, count // len(BENCHMARK))
    common: dict[str, Any] = {"name": f"scale-{shape}", "weights": _WEIGHTS, "evaluation": {"episodes": EPISODES}}
    if shape == "replicates":
        seeds = max(1, points // len(_WEIGHTS) // 2)
        return make_config(**common, seeds=seeds, tuning_seeds=seeds)
    settings = max(1, round(points / len(_WEIGHTS) / (2 * _SEEDS)))
    thresholds = 3 if settings >= 3 else 1
    kinds = 2 if settings >= 6 else 1
    numbers = max(1, math.ceil(settings / thresholds / kinds))
    return make_config(
        **common,
        thresholds="all" if thresholds == 3 else "middle",
        preferred=("best", "random")[:kinds],
        preferences={"num_preferred": tuple(10 * (one + 1) for one in range(numbers))},
        seeds=_SEEDS,
        tuning_seeds=_SEEDS,
    )


def make_folder(root: Path, config: SweepConfig, per_pack: int | None = 96, hidden: Sequence[int] = (8, 8)) -> int:
    """Writes the folder of a finished sweep; the number of its cells.

    Args:
        root: the results folder.
        config: see `grid_config`.
        per_pack: cells of a pack at most.
        hidden: widths of the policies' layers.
    """
    results = ResultsDir(root)
    inputs = {task: shared_inputs("data", "d", "base", "b") for task in config.tasks}
    cells = [*base_cells(config, inputs), *make_cells(config, inputs)]
    results.write_config(dump_config(config))
    results.write_grid([cell.identity for cell in cells])
    results.policies_folder.mkdir(exist_ok=True)
    for number, pack in enumerate(make_packs(cells, set(), per_pack)):
        write_pack(results, pack, number, inputs, hidden)
    results.merge([cell.name for cell in cells])
    return len(cells)


def write_pack(
    results: ResultsDir, pack: Pack, number: int, inputs: Mapping[str, TaskInputs], hidden: Sequence[int]
) -> None:
    """The rows and policies of a pack, as the trial that trained it writes them."""
    rng = numpy_generator(number, "scale")
    identity = pd.DataFrame([cell.identity for cell in pack.cells])
    is_base = pack.cells[0].method == BASE
    ended: dict[str, Any] = {"status": "finished", "error": "", **made_with(get_task(pack.task).suite)}
    rows = {"episodes": _episodes(pack, identity, rng)}
    if not is_base:
        rows["curves"] = _curves(identity, rng)
        last = rows["curves"].groupby("cell", sort=False)[list(CURVES)].last().reset_index(drop=True)
        ended |= {"steps": STEP * (POINTS - 1), "wall_s": 1.0}
        _write_policies(results, pack, inputs, hidden, number)
    rows["trials"] = identity.assign(**ended, **({} if is_base else dict(last)))
    results.write_part(pack.name, rows, policies=[] if is_base else [cell.name for cell in pack.cells])


def _episodes(pack: Pack, identity: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Rewards and costs fall with the weight; those of a replicate have something in common."""
    task, shape = get_task(pack.task), (len(pack.cells), EPISODES)
    limits = np.array([_limit(cell) for cell in pack.cells])[:, None]
    strength = np.log1p([cell.axes.get("weight", -0.5) for cell in pack.cells])[:, None]
    shift = np.array([np.random.default_rng([cell.seed, 7]).normal(0.0, 0.05) for cell in pack.cells])[:, None]
    reward = 0.9 - 0.05 * strength + shift + rng.normal(0.0, 0.05, shape)
    cost = limits * np.exp(1.0 - 0.6 * strength) * (1.0 + shift) * rng.uniform(0.5, 1.5, shape)
    rows = identity.loc[identity.index.repeat(EPISODES)].reset_index(drop=True)
    return rows.assign(
        stage="base" if pack.cells[0].method == BASE else "finetuned",
        episode=np.tile(np.arange(EPISODES), len(pack.cells)),
        **{"return": (task.reward_min + reward * (task.reward_max - task.reward_min)).ravel()},
        cost=np.round(cost).ravel(),
        length=task.horizon,
        terminated=rng.random(shape).ravel() < 0.01,
    )


def _limit(cell: Cell) -> float:
    return float(cell.axes.get("threshold", get_task(cell.task).middle_threshold))


def _curves(identity: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    rows = identity.loc[identity.index.repeat(POINTS)].reset_index(drop=True)
    steps = np.tile(STEP * np.arange(POINTS), len(identity))
    decay = np.exp(-steps / 150.0)
    values = {name: decay + rng.normal(0.0, 0.02, len(rows)) for name in CURVES}
    return rows.assign(step=steps, **values)


def _write_policies(
    results: ResultsDir, pack: Pack, inputs: Mapping[str, TaskInputs], hidden: Sequence[int], number: int
) -> None:
    """Without waiting for the disk, as a real sweep does after each file."""
    task = get_task(pack.task)
    policy = GaussianPolicy(
        Architecture(task.obs_dim, task.act_dim, tuple(hidden)), 1, torch_generator(number, "scale")
    )
    for cell in pack.cells:
        made_by = {
            "command": "prefine sweep",
            **cell.identity,
            "data_digest": inputs[cell.task].of(cell.seed).drawn_digest,
            "settings": pack.settings.model_dump(mode="json"),
            "base": "base",
            "base_digest": "b",
        }
        results.policy_path(cell.name).write_bytes(policy_bytes(policy, PolicyHeader(cell.task, made_by)))


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--shape", choices=SHAPES, default=SHAPES[0])
    parser.add_argument("--cells-per-pack", type=int, default=96)
    parser.add_argument("--hidden", type=int, nargs="*", default=[8, 8])
    options = parser.parse_args(words)
    started = time.perf_counter()
    config = grid_config(options.cells, options.shape)
    count = make_folder(options.folder, config, options.cells_per_pack, options.hidden)
    print(f"{count} cells, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
