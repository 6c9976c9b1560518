"""`prefine finetune`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefine_ray.cli.options import (
    SEED,
    Commands,
    Options,
    add_address,
    add_data_directory,
    add_task,
    amount,
    data_file,
    place,
)

if TYPE_CHECKING:
    import pandas as pd

    from prefine_ray.experiment.job import TrainingJob
    from prefine_ray.policies.gaussian import GaussianPolicy


def register(add: Commands) -> None:
    """Adds the command."""
    example = "prefine finetune --task BallRun --weight 5 --output tuned --local"
    _finetune_options(add("finetune", finetune, "fine-tune one policy, or one per seed", example))


def _finetune_options(parser: argparse.ArgumentParser) -> None:
    add_task(parser, "settings of a sweep, and definitions of own tasks; its grid is not used")
    add_data_directory(parser)
    add_address(parser)
    parser.add_argument("--policy", type=place, metavar="FILE", help="the base policy (default: the shipped one)")
    parser.add_argument("--data", type=place, metavar="FILE", help="a DSRL-schema file (default: the collected one)")
    parser.add_argument("--labels", type=place, metavar="FILE", help="CSV or JSON of labels, or CSV of pairs")
    parser.add_argument("--method", default="prefine", metavar="M", help="or prefine_pairs (default: %(default)s)")
    parser.add_argument("--threshold", type=amount, metavar="C", help="cost threshold (default: the middle one)")
    parser.add_argument("--weight", type=amount, default=5.0, metavar="W", help="safety weight (default: %(default)s)")
    parser.add_argument("--seeds", type=SEED, nargs="+", default=[0], metavar="S", help="(default: 0)")
    parser.add_argument("--output", type=place, default=Path("finetuned"), metavar="DIR", help="(default: %(default)s)")
    parser.add_argument("--local", action="store_true", help="in this process, without Ray Train")


def finetune(options: Options) -> None:
    """Fine-tunes one policy per seed and writes the files."""
    from prefine_ray.experiment.job import policy_header
    from prefine_ray.policies.files import save_policy

    job = _finetune_job(options)
    population, curves = _train_here(job) if options.local else _train_on_ray(job, options)
    for index, cell in enumerate(job.pack.cells):
        path = options.output / f"seed{cell.seed}.safetensors"
        save_policy(population.select(index), path, policy_header(job, cell))
        print(path)
    curves.to_csv(options.output / "curves.csv", index=False)
    print(options.output / "curves.csv")


def _finetune_job(options: Options) -> TrainingJob:
    """A pack of one threshold and weight, with one cell per seed."""
    from prefine_ray.experiment.config import load_config, parse_config
    from prefine_ray.experiment.shipped import find_config
    from prefine_ray.experiment.single import single_job
    from prefine_ray.tasks.spec import get_task

    task = get_task(options.task)
    changes: dict[str, Any] = {
        "tasks": (task.name,),
        "methods": (options.method,),
        "thresholds": (task.middle_threshold if options.threshold is None else options.threshold,),
        "weights": (options.weight,),
        "seeds": tuple(options.seeds),
        "tuning_seeds": 0,
        **({"base": str(options.policy)} if options.policy else {}),
        **({"preferred": "labels"} if options.labels else {}),
    }
    labels = {"preferences.labels": str(options.labels), "data.draws": "shared"} if options.labels else {}
    if options.task_config:
        config = load_config(find_config(options.task_config), {**changes, **labels})
    else:
        config = parse_config("name: finetune", "prefine finetune", {**changes, **labels})
    return single_job(config, data_file(options), options.weight)


def _train_here(job: TrainingJob) -> tuple[GaussianPolicy, pd.DataFrame]:
    from tqdm import tqdm

    from prefine_ray.experiment.job import CurveRecorder, make_learner

    learner, recorder = make_learner(job), CurveRecorder(job.pack)
    for step in tqdm(range(1, job.pack.settings.steps + 1), "fine-tuning", unit="step"):
        learner.train(step, recorder)
    return learner.policies(), recorder.frame()


def _train_on_ray(job: TrainingJob, options: Options) -> tuple[GaussianPolicy, pd.DataFrame]:
    from prefine_ray.experiment.config import ResourceConfig
    from prefine_ray.orchestration import cluster
    from prefine_ray.orchestration.training import train_pack

    cluster.connect(options.address)
    plan = cluster.plan_resources(ResourceConfig(), job.mode is not None)
    trained = train_pack(job, plan, str((options.output / "ray").resolve()))
    return trained.policies, trained.curves
