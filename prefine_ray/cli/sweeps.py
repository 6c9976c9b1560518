"""`prefine sweep` and `prefine search`: runs that can be cut and resumed."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefine_ray.cli.configs import add_config
from prefine_ray.cli.options import (
    COUNT,
    Commands,
    Options,
    add_address,
    add_data_directory,
    completed_by,
    extend_help,
    place,
    task_names,
)

if TYPE_CHECKING:
    from prefine_ray.orchestration.context import RunOutcome
    from prefine_ray.orchestration.ray_session.shutdown import Guard
    from prefine_ray.results.folder import ResultsDir
    from prefine_ray.tracking.tracker import Tracker


def register(add: Commands) -> None:
    """Adds the commands."""
    text = "run a grid of cells with Ray Tune; finished cells are not run again"
    parser = add("sweep", sweep, text, "prefine sweep quick --results results/quick")
    _run_options(parser, "sweep", "cells")
    tasks = parser.add_argument("--tasks", nargs="+", metavar="T", help="these tasks instead of the config's")
    completed_by(tasks, task_names)
    parser.add_argument("--actors", type=COUNT, metavar="N", help="rollout actors (default: from the cluster)")
    extend_help(parser, _methods_text)
    text = "search one setting of the hyperparameters with Optuna; what has ended is not run again"
    parser = add("search", search, text, "prefine search search --results results/search")
    _run_options(parser, "search", "trials")
    text = "these tasks instead of the config's"
    completed_by(parser.add_argument("--tasks", "--task", nargs="+", metavar="T", help=text), task_names)
    parser.add_argument("--trials", type=COUNT, metavar="N", help="the number of trials instead of the config's")


def _methods_text() -> str:
    """The methods and the axes of a grid, from their records."""
    from prefine_ray.experiment.axes import axes
    from prefine_ray.methods.registry import methods

    shown = ", ".join(f"{method.name} ({method.shown})" for method in methods().values())
    keys = ", ".join(axis.key for axis in axes().values())
    return f"methods: {shown}\naxes of a grid, beside tasks, methods and seeds: {keys}"


def _run_options(parser: argparse.ArgumentParser, what: str, parts: str) -> None:
    add_config(parser)
    parser.add_argument("--results", type=place, metavar="DIR", help="default: results/<name>")
    add_data_directory(parser)
    add_address(parser)
    parser.add_argument("--resume", action="store_true", help=f"resume an interrupted {what}; its folder must exist")
    parser.add_argument("--retry-failed", action="store_true", help=f"run the {parts} that failed again")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override values of the file, e.g. finetune.steps=500 preferences.num_preferred=[5,20]",
    )


@dataclass(frozen=True)
class _Kind:
    """What differs between a sweep and a search once the configuration is read."""

    command: str
    ended: str  # what has been counted, as in "12 cells finished"
    run: Callable[[Any, Path, Path, Tracker], RunOutcome]
    show: Callable[[Path], None]  # prints the report


def sweep(options: Options) -> int:
    """Runs a sweep; 0 when every cell finished, 1 when some failed, 130 when it was interrupted, 143 by SIGTERM."""
    from prefine_ray.cli.results import show_report
    from prefine_ray.experiment.config import load_config
    from prefine_ray.experiment.shipped import find_config
    from prefine_ray.orchestration.sweep.run import run_sweep

    changes = {"tasks": tuple(options.tasks or ()), "resources.rollout_actors": options.actors}
    config = load_config(find_config(options.config), _overrides(options, changes))
    return _run(_Kind("sweep", "cells finished", run_sweep, lambda root: show_report([root])), config, options)


def search(options: Options) -> int:
    """Runs a hyperparameter search; 0 when every trial ended, 1 when some failed, 130 (143) when it was interrupted."""
    from prefine_ray.cli.results import show_search_report
    from prefine_ray.experiment.search_config import load_search_config
    from prefine_ray.experiment.shipped import find_config
    from prefine_ray.orchestration.search.run import run_search

    changes = {"tasks": tuple(options.tasks or ()), "search.trials": options.trials}
    config = load_search_config(find_config(options.config), _overrides(options, changes))
    return _run(_Kind("search", "trials ended", run_search, show_search_report), config, options)


def _overrides(options: Options, changes: dict[str, Any]) -> dict[str, Any]:
    """The values of `--set`, and those of the options that were given; no key by both."""
    from prefine_ray.experiment.config import ConfigError, parse_assignments

    assigned, given = parse_assignments(options.set), {key: value for key, value in changes.items() if value}
    if twice := sorted(assigned.keys() & given.keys()):
        raise ConfigError(f"{twice[0]}: is given twice, by --set and by an option of its own; leave one of them out")
    return assigned | given


def _run(kind: _Kind, config: Any, options: Options) -> int:
    """Runs what `config` describes in its results folder and reports it; an interrupted run can be resumed."""
    from tqdm import tqdm

    from prefine_ray.orchestration.ray_session.shutdown import Guard
    from prefine_ray.results.folder import ResultsDir

    tqdm.monitor_interval = 0  # its thread would keep a process whose output is read no more from ending
    results = ResultsDir(options.results or Path("results") / config.name)
    resume = f"Resume with: {resume_command(kind.command, options, results.root)}"
    with Guard(results.root, resume) as guard:
        try:
            return _run_guarded(kind, config, options, results, guard)
        except KeyboardInterrupt:  # while data or base policies are made, or at the end
            return guard.say_goodbye("Interrupted.")


def _run_guarded(kind: _Kind, config: Any, options: Options, results: ResultsDir, guard: Guard) -> int:
    from prefine_ray.results.folder import StorageError

    tracker = _prepare(results, config.name, options)
    guard.watch_ray()
    try:
        outcome = kind.run(config, results.root, options.data_dir, tracker)
    except StorageError:
        tracker.finish("KILLED")
        raise
    if not outcome.complete:
        tracker.finish("KILLED")
        lacking = f", {outcome.unfinished} more lack evaluations under other conditions" if outcome.unfinished else ""
        done = f"{outcome.finished} of {outcome.total} {kind.ended}{lacking}; they are in {results.root}."
        return guard.say_goodbye(f"Interrupted: {done}")
    kind.show(results.root)
    tracker.finish("FINISHED")
    print(f"\n{outcome.finished} {kind.ended}, {outcome.failed} of them failed. MLflow: prefine ui {results.root}")
    return 1 if outcome.failed else 0


def _prepare(results: ResultsDir, name: str, options: Options) -> Tracker:
    """Checks folders and cluster; the tracker of the run.

    Raises:
        ConfigError: an address instead of a folder, or nothing to resume.
        ClusterError: there is no cluster at the address, or one of its nodes cannot take part.
    """
    from prefine_ray.experiment.config import ConfigError
    from prefine_ray.orchestration import cluster
    from prefine_ray.orchestration.preflight import check_nodes
    from prefine_ray.tracking.tracker import Tracker

    _check_folders(results.root, options.data_dir)
    if options.resume and not results.config_path.exists():
        raise ConfigError(f"{results.root}: nothing to resume; there is no config.yaml of an earlier run")
    tracker = Tracker(results, name)
    if cluster.connect(options.address):
        check_nodes([results.root, options.data_dir], tracker.uri)
    if options.retry_failed:
        print(f"{results.forget_failed()} failed cells will run again")
    return tracker


def resume_command(command: str, options: Options, root: Path) -> str:
    """The command that resumes an interrupted run from any folder, with the options that it was started with."""
    config = Path(options.config)
    words = ["prefine", command, str(config.absolute() if config.is_file() else config), "--results", str(root)]
    words += ["--resume", "--data-dir", str(options.data_dir.absolute())]
    for name in ("address", "actors", "tasks", "trials", "set"):
        if value := getattr(options, name, None):
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    command_line = shlex.join(words)
    if options.set:  # its paths may be relative to this folder
        return f"cd {shlex.quote(str(Path.cwd()))} && {command_line}"
    return command_line


def _check_folders(*folders: Path) -> None:
    """Refuses addresses of object stores.

    Raises:
        ConfigError: one is an address and no folder.
    """
    from prefine_ray.experiment.config import ConfigError

    for folder in folders:
        if re.match(r"\w+:/", str(folder)):
            raise ConfigError(f"{folder}: results and data go to a folder; on a cluster, one that all nodes mount")
