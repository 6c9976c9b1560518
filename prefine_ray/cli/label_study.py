"""`prefine labels study`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from prefine_ray.cli.configs import add_config
from prefine_ray.cli.options import Commands, Options, place

if TYPE_CHECKING:
    from prefine_ray.labeling.study_config import StudyConfig

ROWS, FIGURE, TABLE, CONFIG = "rows.parquet", "answers.png", "summary.md", "config.yaml"


def register(add: Commands) -> None:
    """Adds the command to the group `labels`."""
    text = "how many answers of simulated raters make a policy safe; what is finished is not run again"
    parser = add("study", study, text, "prefine labels study label_study --results results/label_study")
    add_config(parser)
    parser.add_argument("--results", type=place, metavar="DIR", help="default: results/<name>")


def study(options: Options) -> None:
    """Runs what is not finished of a study, then writes its rows, table and figure."""
    os.environ.setdefault(
        "OPENBLAS_NUM_THREADS", "1"
    )  # before NumPy: on small matrices its threads wait for one another
    from filelock import Timeout

    from prefine_ray.core.files import locked
    from prefine_ray.experiment.config import ConfigError
    from prefine_ray.experiment.shipped import find_config
    from prefine_ray.labeling.study_config import load_study

    path = find_config(options.config)
    config = load_study(path)
    folder: Path = options.results or Path("results") / config.name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / ".lock", wait=False):
            _run(config, folder)
            _write(config, path, folder)
    except Timeout:
        raise ConfigError(f"{folder}: another study works in this folder; end that one, or name another") from None


def _run(config: StudyConfig, folder: Path) -> None:
    import torch
    from tqdm import tqdm

    from prefine_ray.labeling.study import finished_rows, packs, run_study

    torch.set_num_threads(1)
    every = packs(config)
    done = sum(finished_rows(config, pack, folder) is not None for pack in every)
    with tqdm(total=len(every), initial=done, desc=config.name, unit="pack") as bar:
        for pack in run_study(config, folder):
            bar.set_postfix_str(f"{pack.task} {pack.use or 'base'} {pack.answers}", refresh=False)
            bar.update()


def _write(config: StudyConfig, path: Path, folder: Path) -> None:
    from prefine_ray.analysis.plots.label_study import answers_figure
    from prefine_ray.analysis.plots.style import save_figure
    from prefine_ray.analysis.tables.label_study import summary_text
    from prefine_ray.core.files import write_text
    from prefine_ray.core.tables import write_table
    from prefine_ray.labeling.study import all_rows

    rows = all_rows(config, folder)
    write_text(folder / CONFIG, path.read_text())
    write_table(folder / ROWS, rows)
    write_text(folder / TABLE, summary_text(rows))
    save_figure(answers_figure(rows), folder / FIGURE, config.name)
    for name in (ROWS, TABLE, FIGURE):
        print(folder / name)
