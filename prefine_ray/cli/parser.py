"""The `prefine` command. Heavy imports happen in the commands that need them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from prefine_ray.cli import commands
from prefine_ray.cli import search as search_commands
from prefine_ray.core.errors import PrefineError

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the process's exit status."""
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except KeyboardInterrupt:
        print("\nprefine: interrupted", file=sys.stderr)
        return INTERRUPTED
    except PrefineError as error:
        print(f"prefine: error: {error}", file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options and examples."""
    parser = argparse.ArgumentParser(prog="prefine", description="Preference-based safety fine-tuning on Ray.")
    add = _Commands(parser.add_subparsers(title="commands", required=True, metavar="COMMAND"))
    _add_data_commands(add)
    _add_policy_commands(add)
    _add_sweep_commands(add)
    return parser


class _Commands:
    """Adds subcommands, each with a one-line help and an example."""

    def __init__(self, group: argparse._SubParsersAction):
        self._group = group

    def __call__(
        self, name: str, run: Callable[[argparse.Namespace], int | None] | None, text: str, example: str
    ) -> argparse.ArgumentParser:
        """A subcommand; returns its parser."""
        parser = self._group.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.set_defaults(run=run)
        return parser


def _task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", required=True, metavar="T", help="a task of `prefine tasks`")


def _data_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data"), metavar="DIR", help="collected data sets (default: %(default)s)"
    )


def _address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address",
        metavar="A",
        help="join a running Ray cluster, e.g. auto (default: $RAY_ADDRESS, else a Ray of its own on this machine)",
    )


def _results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="DIR", help="a results folder")


def _add_data_commands(add: _Commands) -> None:
    add("tasks", commands.tasks, "list the tasks with their sizes, scores and thresholds", "prefine tasks")
    parser = add(
        "collect",
        commands.collect,
        "roll the shipped behaviours out into a DSRL file",
        "prefine collect --task BallRun --episodes 300",
    )
    _task(parser)
    _data_directory(parser)
    _address(parser)
    parser.add_argument(
        "--behaviours", default="zoo", metavar="DIR", help="a ladder of `prefine pretrain` (default: zoo)"
    )
    parser.add_argument("--episodes", type=int, default=300, metavar="N", help="episodes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the data (default: %(default)s)")
    parser.add_argument("--actors", type=int, metavar="N", help="rollout actors (default: from the cluster)")
    data = add("data", None, "fetch or describe trajectory files", "prefine data describe --task BallRun")
    kinds = _Commands(data.add_subparsers(title="commands", required=True, metavar="COMMAND"))
    parser = kinds(
        "fetch", commands.data_fetch, "download the published DSRL file", "prefine data fetch --task AntVelocity"
    )
    _task(parser)
    parser.add_argument("--directory", type=Path, metavar="DIR", help="default: $DSRL_DATASET_DIR, ~/.dsrl/datasets")
    parser.add_argument("--base-url", metavar="URL", help="a mirror")
    parser = kinds(
        "describe",
        commands.data_describe,
        "counts per threshold, quantiles and a reward-cost scatter",
        "prefine data describe --task BallRun --plot ballrun.png",
    )
    _task(parser)
    _data_directory(parser)
    parser.add_argument("--file", type=Path, metavar="FILE", help="a DSRL-schema file (default: the collected one)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where to draw the scatter (.png, .pdf, .svg)")


def _add_policy_commands(add: _Commands) -> None:
    parser = add(
        "pretrain",
        commands.pretrain,
        "train a reward-only policy with RLlib PPO, then a ladder of safer behaviours",
        "prefine pretrain --task BallRun --output runs/BallRun",
    )
    _task(parser)
    parser.add_argument("--steps", type=int, metavar="N", help="environment steps (default: the task's recipe)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: runs/<task>")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="sampling actors (default: in-process)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser = add(
        "clone",
        commands.clone,
        "make a base policy: the clone of the unsafe episodes of the highest return",
        "prefine clone --task BallRun --output base.safetensors",
    )
    _task(parser)
    _data_directory(parser)
    parser.add_argument("--data", metavar="FILE", help="a DSRL-schema file (default: the collected one)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="(default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="imitate all episodes instead")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the policy file to write")
    parser = add(
        "finetune",
        commands.finetune,
        "fine-tune one policy, or one per seed",
        "prefine finetune --task BallRun --weight 5 --output tuned --local",
    )
    _task(parser)
    _data_directory(parser)
    _address(parser)
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings of a sweep; its grid is not used")
    parser.add_argument("--policy", metavar="FILE", help="the base policy (default: the shipped one)")
    parser.add_argument("--data", metavar="FILE", help="a DSRL-schema file (default: collected from the behaviours)")
    parser.add_argument("--labels", metavar="FILE", help="CSV or JSON of preferred and dispreferred trajectories")
    parser.add_argument("--threshold", type=float, metavar="C", help="cost threshold (default: the middle one)")
    parser.add_argument("--weight", type=float, default=5.0, metavar="W", help="safety weight (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="S", help="(default: 0)")
    parser.add_argument("--output", type=Path, default=Path("finetuned"), metavar="DIR", help="(default: %(default)s)")
    parser.add_argument("--local", action="store_true", help="in this process, without Ray Train")
    parser = add(
        "evaluate",
        commands.evaluate,
        "scores of a policy file over fresh episodes",
        "prefine evaluate --task BallRun --policy tuned/seed0.safetensors --episodes 20 --json",
    )
    _task(parser)
    parser.add_argument("--policy", type=Path, required=True, metavar="FILE", help="a policy file")
    parser.add_argument("--force", action="store_true", help="also a policy that was made for another task")
    parser.add_argument("--episodes", type=int, default=20, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the episodes (default: %(default)s)")
    parser.add_argument("--experiment-seed", type=int, default=0, metavar="S", help="a sweep's `seed` (default: 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object with the per-episode lists")
    parser = add(
        "render",
        commands.render,
        "a GIF or MP4 of an episode with reward, cost and violations drawn in",
        "prefine render --task BallRun --policy tuned/seed0.safetensors --output ball.gif",
    )
    _task(parser)
    parser.add_argument("--policy", type=Path, required=True, metavar="FILE", help="a policy file")
    parser.add_argument("--force", action="store_true", help="also a policy that was made for another task")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=".gif or .mp4")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="reset seed (default: %(default)s)")
    parser.add_argument("--threshold", type=float, metavar="C", help="cost threshold (default: the middle one)")
    parser.add_argument("--steps", type=int, metavar="N", help="at most this many steps (default: the episode)")


def _resumable_run(parser: argparse.ArgumentParser, what: str, parts: str) -> None:
    """What `sweep` and `search` have in common."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file in tune_configs/")
    parser.add_argument("--results", type=Path, metavar="DIR", help="default: results/<name>")
    _data_directory(parser)
    _address(parser)
    parser.add_argument(
        "--resume", action="store_true", help=f"go on with a {what} that was cut; its folder must exist"
    )
    parser.add_argument("--retry-failed", action="store_true", help=f"run the {parts} again that failed")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="other values than the file's, e.g. finetune.steps=500 preferences.num_preferred=[5,20]",
    )


def _add_sweep_commands(add: _Commands) -> None:
    parser = add(
        "sweep",
        commands.sweep,
        "run a grid of cells with Ray Tune; finished cells are not run again",
        "prefine sweep tune_configs/quick.yaml --results results/quick",
    )
    _resumable_run(parser, "sweep", "cells")
    parser.add_argument("--tasks", nargs="+", metavar="T", help="these tasks instead of the config's")
    parser.add_argument("--actors", type=int, metavar="N", help="rollout actors (default: from the cluster)")
    parser = add(
        "search",
        search_commands.search,
        "search hyperparameters on one task with Optuna; trials that have ended are not run again",
        "prefine search tune_configs/search.yaml --results results/search",
    )
    _resumable_run(parser, "search", "trials")
    parser.add_argument("--task", metavar="T", help="this task instead of the config's")
    parser.add_argument("--trials", type=int, metavar="N", help="so many trials instead of the config's")
    parser = add(
        "status",
        commands.status,
        "how far a sweep is: cells, pace, time left, best so far, errors; while it runs or later, on any machine",
        "prefine status results/quick",
    )
    _results(parser)
    parser = add("report", commands.report, "make tables and plots from the rows", "prefine report results/quick")
    parser.add_argument("results", type=Path, nargs="+", metavar="DIR", help="results folders; several are joined")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write (default: the results folder)")
    parser.add_argument(
        "--budget",
        action="store_true",
        help="the folders are one sweep with several numbers of gradient steps: draw reward and cost against these",
    )
    parser = add("sync", commands.sync, "send to MLflow what it does not have yet", "prefine sync results/quick")
    _results(parser)
    parser = add("ui", commands.ui, "open the MLflow pages of a results folder", "prefine ui results/quick")
    _results(parser)
    parser.add_argument("--port", type=int, default=5000, metavar="P", help="on localhost (default: %(default)s)")
