"""What the groups of commands share: how a command is added, and the options that several have."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Options = argparse.Namespace
Run = Callable[[Options], int | None]
Completer = Callable[..., Iterable[str]]


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


def add_task(parser: argparse.ArgumentParser) -> None:
    """`--task T`."""
    action = parser.add_argument("--task", required=True, metavar="T", help="a task of `prefine tasks`")
    completed_by(action, task_names)


def add_data_directory(parser: argparse.ArgumentParser) -> None:
    """`--data-dir DIR`."""
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data"), metavar="DIR", help="collected data sets (default: %(default)s)"
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
    parser.add_argument("results", type=Path, metavar="DIR", help="a results folder")


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

    return Path(options.data) if options.data else collected_file(get_task(options.task).name, options.data_dir)
