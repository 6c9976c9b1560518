"""What the groups of commands share: how a command is added, and the options that several have."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from prefine_ray.core.paths import PathTextError, expand

Options = argparse.Namespace
Run = Callable[[Options], int | None]
Completer = Callable[..., Iterable[str]]
_LARGEST = 2**63 - 1  # whole numbers that files and simulators hold
MOST_EPISODES = 100_000  # of one evaluation, which runs them side by side


class Commands:
    """Adds subcommands, each with a one-line help and an example."""

    def __init__(self, group: argparse._SubParsersAction):
        self._group = group

    def __call__(self, name: str, run: Run, text: str, example: str) -> argparse.ArgumentParser:
        """A subcommand; returns its parser."""
        parser = self._add(name, text, example)
        parser.set_defaults(run=run)
        return parser

    def group(self, name: str, text: str, example: str, run: Run | None = None) -> Commands:
        """A command with subcommands of its own; `run` is what it does without one, None where it needs one."""
        parser = self._add(name, text, example)
        parser.set_defaults(run=run)
        return Commands(parser.add_subparsers(title="commands", required=run is None, metavar="COMMAND"))

    def _add(self, name: str, text: str, example: str) -> argparse.ArgumentParser:
        return self._group.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )


def extend_help(parser: argparse.ArgumentParser, text: Callable[[], str]) -> None:
    """Adds to a command's help, only when it is shown, text that takes long to compute."""
    plain = parser.format_help
    parser.format_help = lambda: f"{plain()}\n{text()}\n"  # type: ignore[method-assign]


def whole_number(least: int, most: int = _LARGEST) -> Callable[[str], int]:
    """The type of an option that takes a whole number in a range."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if not least <= value <= most:
            bounds = f"{least} or more is needed" if most == _LARGEST else f"{least} to {most} is possible"
            raise argparse.ArgumentTypeError(f"{text}: {bounds}")
        return value

    return parse


def amount(text: str) -> float:
    """The type of an option that takes a finite number of at least 0, such as a cost or a weight."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: a finite number of at least 0 is needed")
    return value


def place(text: str) -> Path:
    """The type of an option that takes a file or a folder; ~ and $VARIABLES are replaced."""
    try:
        return Path(expand(text))
    except PathTextError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


COUNT, SEED = whole_number(1), whole_number(0)


def completed_by(action: argparse.Action, completer: Completer) -> None:
    """Lets the shell complete an option's values."""
    action.completer = completer  # type: ignore[attr-defined]  # argcomplete's convention


def task_names(**_: Any) -> Iterable[str]:
    """The names of all tasks, for the shell."""
    from prefine_ray.tasks.spec import TASKS

    return list(TASKS)


def config_names(**_: Any) -> Iterable[str]:
    """The names of the shipped configurations, for the shell."""
    from prefine_ray.experiment.shipped import shipped_configs

    return list(shipped_configs())


def condition_names(**_: Any) -> Iterable[str]:
    """The names of the conditions of evaluation, for the shell."""
    from prefine_ray.rollouts.conditions import CONDITIONS

    return list(CONDITIONS)


def add_task(parser: argparse.ArgumentParser, text: str = "defines the task, if it is your own") -> None:
    """`--task T`, and `--config CONFIG` with the definitions of own tasks (see `add_own_tasks`)."""
    action = parser.add_argument("--task", required=True, metavar="T", help="a task of `prefine tasks`")
    completed_by(action, task_names)
    completed_by(parser.add_argument("--config", dest="task_config", metavar="CONFIG", help=text), config_names)


def add_own_tasks(config: str) -> list[str]:
    """Registers the own tasks of a sweep's or a search's configuration; their names.

    Raises:
        ConfigError: the configuration, or a definition in it, is wrong.
    """
    from prefine_ray.experiment.config import load_config
    from prefine_ray.experiment.search_config import is_search_file, load_search_config
    from prefine_ray.experiment.shipped import find_config

    path = find_config(config)
    return list((load_search_config if is_search_file(path) else load_config)(path).task_definitions)


def add_data_directory(parser: argparse.ArgumentParser) -> None:
    """`--data-dir DIR`."""
    parser.add_argument(
        "--data-dir", type=place, default=Path("data"), metavar="DIR", help="collected data sets (default: %(default)s)"
    )


def add_address(parser: argparse.ArgumentParser) -> None:
    """`--address A`."""
    parser.add_argument(
        "--address",
        metavar="A",
        help="join a running Ray cluster, e.g. auto (default: $RAY_ADDRESS, else a new one on this machine)",
    )


def add_results(parser: argparse.ArgumentParser) -> None:
    """The results folder as the command's argument."""
    parser.add_argument("results", type=place, metavar="DIR", help="a results folder")


def collected_file(task: str, directory: Path) -> Path:
    """The newest data set of a task in `directory`.

    Raises:
        TrajectoryFileError: there is none.
    """
    from prefine_ray.data.hdf5 import TrajectoryFileError

    files = sorted(directory.glob(f"{task}-*.hdf5"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise TrajectoryFileError(
            f"{directory}: no data of {task}; run `prefine data collect --task {task}` or name a file"
        )
    return files[-1]


def data_file(options: Options) -> Path:
    """The file of `--data`, else the newest collected one of the task."""
    from prefine_ray.tasks.spec import get_task

    return options.data or collected_file(get_task(options.task).name, options.data_dir)
