"""`prefine configs list | show | check`: the shipped configurations, and what a configuration would run."""

from __future__ import annotations

import argparse
import itertools
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from prefine_ray.cli.options import Commands, Options, completed_by, config_names

if TYPE_CHECKING:
    from prefine_ray.experiment.config import SweepConfig
    from prefine_ray.labeling.study_config import StudyConfig


def register(add: Commands) -> None:
    """Adds the commands."""
    configs = add.group("configs", "list, show or check configurations", "prefine configs check quick")
    configs("list", list_configs, "the shipped configurations", "prefine configs list")
    add_config(configs("show", show, "print a configuration file", "prefine configs show quick > mine.yaml"))
    text = "check a configuration and say what it would run, without running it"
    add_config(configs("check", check, text, "prefine configs check mine.yaml"))


def add_config(parser: argparse.ArgumentParser) -> None:
    """The configuration as the command's argument."""
    text = "a YAML file, or the name of a shipped configuration (`prefine configs list`)"
    completed_by(parser.add_argument("config", metavar="CONFIG", help=text), config_names)


def list_configs(options: Options) -> None:
    """Prints the shipped configurations with the first sentence of their comment."""
    from prefine_ray.experiment.shipped import shipped_configs

    for name, path in shipped_configs().items():
        print(f"{name:<22} {_first_sentence(path)}")


def _first_sentence(path: Path) -> str:
    """Of the comment at the top."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    return " ".join(line.removeprefix("#").strip() for line in lines).partition(". ")[0].rstrip(".")


def show(options: Options) -> None:
    """Prints a configuration file as it is."""
    from prefine_ray.experiment.shipped import find_config

    print(find_config(options.config).read_text(), end="")


def check(options: Options) -> None:
    """Checks the configuration of a sweep, a search or a study and prints its grid."""
    from prefine_ray.experiment.config import load_config
    from prefine_ray.experiment.search_config import SearchConfig, is_search_file, load_search_config
    from prefine_ray.experiment.shipped import find_config
    from prefine_ray.labeling.study_config import is_study_file, load_study

    path = find_config(options.config)
    if is_study_file(path):
        return print(f"{path}: valid\n{_study_line(load_study(path))}")
    config = load_search_config(path) if is_search_file(path) else load_config(path)
    print(f"{path}: valid")
    print(_search_line(config) if isinstance(config, SearchConfig) else _grid_lines(config))


def _search_line(config: SweepConfig) -> str:
    from prefine_ray.experiment.search_config import SearchConfig

    assert isinstance(config, SearchConfig)
    seeds, (of_tasks, cells) = len(config.tuning_seeds), _problems(config)
    return (
        f"{config.name}: a search over {', '.join(config.search.space)}: {config.search.trials} trials of {cells} "
        f"cells, {of_tasks} on {seeds} tuning seed{'s' if seeds > 1 else ''}"
    )


def _study_line(config: StudyConfig) -> str:
    tasks, grid = len(config.tasks), (config.uses, config.answers, config.orders, config.errors)
    cells = math.prod(len(axis) for axis in grid) * config.replicates
    return (
        f"{config.name}: a study with simulated raters on {', '.join(config.tasks)}: {tasks * cells} cells, and "
        f"{tasks * config.replicates} base policies"
    )


def _problems(config: SweepConfig) -> tuple[str, int]:
    """The problems of a search in words, and the cells of one trial."""
    from prefine_ray.experiment.cells import grid_points

    counts = {}
    for task in config.tasks:
        points = list(grid_points(config.for_task(task), task))
        counts[task] = len(points) // len(config.axis_values("weight", task))
    problems, tasks = sum(counts.values()) // len(config.tuning_seeds), len(counts)
    words = f"{problems} problem{'s' if problems > 1 else ''}"
    return (f"{words} of {tasks} tasks" if tasks > 1 else f"{words} of {config.tasks[0]}"), sum(counts.values())


def _grid_lines(config: SweepConfig) -> str:
    """Cells per task and method; base policies count once per seed."""
    from prefine_ray.experiment.cells import grid_points

    counts = {
        task: Counter(base=len(config.seeds))
        + Counter(method.name for method, *_ in grid_points(config.for_task(task), task))
        for task in config.tasks
    }
    total = sum(count.total() for count in counts.values())
    methods = list(dict.fromkeys(method for count in counts.values() for method in count))
    width = max(len(task) for task in counts)
    lines = [f"{config.name}: {total} cells on {len(counts)} tasks"]
    lines.append(f"{'task':<{width}}  {'cells':>6}  " + "  ".join(f"{method:>8}" for method in methods))
    for task, count in counts.items():
        lines.append(f"{task:<{width}}  {count.total():>6}  " + "  ".join(f"{count[method]:>8}" for method in methods))
    return "\n".join(lines)
