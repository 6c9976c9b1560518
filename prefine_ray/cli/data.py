"""`prefine data ...`."""

from __future__ import annotations

import argparse

from prefine_ray.cli.options import (
    COUNT,
    SEED,
    Commands,
    Options,
    add_address,
    add_data_directory,
    add_task,
    collected_file,
    place,
)

_COLLECT = "prefine data collect --task BallRun --episodes 300"
_CONVERT = """prefine data convert ball/run-v0 --task BallRun -o ball.hdf5
  prefine data convert logged.npz --task BallRun -o ball.hdf5 --no-cost
  prefine data convert replay_buffer.pkl --task BallRun -o ball.hdf5 --no-cost --trust"""


def register(add: Commands) -> None:
    """Adds the commands."""
    data = add.group(
        "data", "collect, fetch, convert, describe trajectory files", "prefine data describe --task BallRun"
    )
    _collect_options(data("collect", collect, "roll the shipped behaviours out into a DSRL file", _COLLECT))
    _fetch_options(data("fetch", fetch, "download the published DSRL file", "prefine data fetch --task AntVelocity"))
    example = "prefine data describe --task BallRun --plot ballrun.png"
    _describe_options(data("describe", describe, "counts per threshold, quantiles and a reward-cost scatter", example))
    _convert_options(data("convert", convert, "make a DSRL file of data from elsewhere", _CONVERT))
    _collect_options(add("collect", collect, "the same as `prefine data collect`", _COLLECT))


def _collect_options(parser: argparse.ArgumentParser) -> None:
    add_task(parser)
    add_data_directory(parser)
    add_address(parser)
    parser.add_argument(
        "--behaviours",
        default="zoo",
        metavar="PATH",
        help="a ladder of `prefine pretrain`, or a policy file or folder of them (default: zoo)",
    )
    parser.add_argument("--episodes", type=COUNT, default=300, metavar="N", help="episodes (default: %(default)s)")
    parser.add_argument("--seed", type=SEED, default=0, metavar="S", help="seed of the data (default: %(default)s)")
    parser.add_argument("--actors", type=COUNT, metavar="N", help="rollout actors (default: from the cluster)")


def _fetch_options(parser: argparse.ArgumentParser) -> None:
    add_task(parser)
    parser.add_argument("--directory", type=place, metavar="DIR", help="default: $DSRL_DATASET_DIR, ~/.dsrl/datasets")
    parser.add_argument("--base-url", metavar="URL", help="a mirror")


def _convert_options(parser: argparse.ArgumentParser) -> None:
    text = "an HDF5 file in D4RL's layout, an .npz file, a replay buffer of Stable-Baselines3, or a data set of Minari"
    parser.add_argument("source", type=place, metavar="SOURCE", help=f"{text} (folder or id)")
    add_task(parser)
    parser.add_argument("-o", "--output", type=place, required=True, metavar="OUT", help="the DSRL file to write")
    parser.add_argument("--from", dest="kind", choices=("minari", "d4rl", "npz", "sb3"), help="default: found out")
    parser.add_argument("--no-cost", action="store_true", help="the data have no costs; labels will have to do")
    parser.add_argument("--trust", action="store_true", help="unpickle, which runs whatever code the author put in")
    text = "the limits of the actions in the data (default: Minari's own, else -1 1)"
    parser.add_argument("--action-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help=text)


def _describe_options(parser: argparse.ArgumentParser) -> None:
    add_task(parser)
    add_data_directory(parser)
    parser.add_argument("--file", type=place, metavar="FILE", help="a DSRL-schema file (default: the collected one)")
    parser.add_argument("--plot", type=place, metavar="FILE", help="where to draw the scatter (.png, .pdf, .svg)")


def collect(options: Options) -> None:
    """Collects a data set with rollout actors."""
    from prefine_ray.experiment.config import parse_config
    from prefine_ray.orchestration import cluster
    from prefine_ray.orchestration.prepare import collect as run
    from prefine_ray.orchestration.ray_actors import start_rollout_actors
    from prefine_ray.tasks.registration import own_definitions
    from prefine_ray.tasks.spec import get_task

    task = get_task(options.task)
    asked = {"data.source": options.behaviours, "data.episodes": options.episodes, "data.seed": options.seed}
    asked |= {"resources.rollout_actors": options.actors} if options.actors else {}
    config = parse_config("name: collect", "prefine data collect", asked)
    cluster.connect(options.address)
    plan = cluster.plan_resources(config.resources, counterfactual_actors=False)
    actors = start_rollout_actors(plan, own_definitions([task.name]))
    path, _ = run(task, config.data, options.data_dir, actors)
    print(path)


def fetch(options: Options) -> None:
    """Downloads a DSRL file."""
    from prefine_ray.data.download import fetch as run
    from prefine_ray.tasks.spec import get_task

    print(run(get_task(options.task), options.directory, options.base_url))


def convert(options: Options) -> None:
    """Converts a data set, and tells what the user should know of it."""
    from prefine_ray.convert.data.converting import convert as run
    from prefine_ray.tasks.spec import get_task

    limits = tuple(options.action_range) if options.action_range else None
    done = run(
        str(options.source),
        options.output,
        get_task(options.task),
        options.kind,
        no_cost=options.no_cost,
        trust=options.trust,
        action_range=limits,
    )
    for note in done.notes:
        print(f"Note: {note}")
    episodes, steps = len(done.trajectories), len(done.trajectories.rewards)
    print(f"{episodes} episodes, {steps} steps of {done.source}\n{options.output}")


def describe(options: Options) -> None:
    """Describes a trajectory file."""
    from prefine_ray.data.description import describe as text_of
    from prefine_ray.data.description import plot_reward_cost
    from prefine_ray.data.hdf5 import read_summary
    from prefine_ray.tasks.spec import get_task

    task = get_task(options.task)
    path = options.file or collected_file(task.name, options.data_dir)
    summary = read_summary(path, task)
    print(f"{path}\n{text_of(summary, task)}")
    if options.plot:
        plot_reward_cost(summary, task, options.plot)
        print(f"\nScatter: {options.plot}")
