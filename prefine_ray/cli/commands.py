"""What each `prefine` command does; imports are inside, so that every command starts fast."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefine_ray.tasks.spec import TASKS, get_task

if TYPE_CHECKING:
    import pandas as pd

    from prefine_ray.experiment.config import SweepConfig
    from prefine_ray.experiment.job import FineTuneJob
    from prefine_ray.policies.gaussian import GaussianPolicy

Options = argparse.Namespace


def tasks(options: Options) -> None:
    """Prints the tasks."""
    print(f"{'task':<20} {'suite':<17} {'obs':>4} {'act':>4} {'steps':>6} {'reward 0..1':>18} {'thresholds':>12}")
    for task in TASKS.values():
        reward = f"{task.reward_min:.1f}..{task.reward_max:.1f}"
        limits = "/".join(f"{t:g}" for t in task.thresholds)
        extra = "" if task.in_benchmark else "  (extra)"
        sizes = f"{task.obs_dim:>4} {task.act_dim:>4} {task.horizon:>6}"
        print(f"{task.name:<20} {task.suite:<17} {sizes} {reward:>18} {limits:>12}{extra}")


def collect(options: Options) -> None:
    """Collects a data set with rollout actors."""
    from prefine_ray.experiment.config import DataConfig, ResourceConfig
    from prefine_ray.orchestration import cluster
    from prefine_ray.orchestration.actors import start_rollout_actors
    from prefine_ray.orchestration.prepare import collect as run

    task = get_task(options.task)
    cluster.connect(options.address)
    plan = cluster.plan_resources(ResourceConfig(rollout_actors=options.actors), counterfactual_actors=False)
    actors = start_rollout_actors(plan)
    config = DataConfig(source=options.behaviours, episodes=options.episodes, seed=options.seed)
    print(run(task, config, options.data_dir, actors).path)


def data_fetch(options: Options) -> None:
    """Downloads a DSRL file."""
    from prefine_ray.data.download import fetch

    print(fetch(options.task, options.directory, options.base_url))


def data_describe(options: Options) -> None:
    """Describes a trajectory file."""
    from prefine_ray.data.description import describe, plot_reward_cost
    from prefine_ray.data.hdf5 import read_summary

    task = get_task(options.task)
    path = options.file or _collected_file(task.name, options.data_dir)
    summary = read_summary(path, task)
    print(f"{path}\n{describe(summary, task)}")
    if options.plot:
        plot_reward_cost(summary, task, options.plot)
        print(f"\nScatter: {options.plot}")


def _data_file(options: Options) -> Path:
    return Path(options.data) if options.data else _collected_file(get_task(options.task).name, options.data_dir)


def _collected_file(task: str, directory: Path) -> Path:
    from prefine_ray.data.hdf5 import TrajectoryFileError

    files = sorted(directory.glob(f"{task}-*.hdf5"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise TrajectoryFileError(f"{directory}: no data of {task}; run `prefine collect --task {task}` or name a file")
    return files[-1]


def pretrain(options: Options) -> None:
    """Trains behaviours."""
    from prefine_ray.pretrain.training import pretrain as run

    task = get_task(options.task)
    output = options.output or Path("runs") / task.name
    print(run(task, output, options.steps, options.seed, options.workers, options.resume))


def clone(options: Options) -> None:
    """Clones a base policy."""
    from tqdm import tqdm

    from prefine_ray.methods.base import clone_base
    from prefine_ray.methods.cloning import CloneConfig
    from prefine_ray.policies.files import save_policy

    task, config = get_task(options.task), CloneConfig()
    data = _data_file(options)
    with tqdm(total=config.steps, desc=f"clone {task.name}", unit="step") as bar:
        choice = "bc_all" if options.all else "clone"
        policy, header = clone_base(task, data, options.seed, config, choice, lambda step: bar.update())
    save_policy(policy, options.output, header)
    print(options.output)


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


def _finetune_job(options: Options) -> FineTuneJob:
    """A pack of one threshold and weight, with one cell per seed."""
    from prefine_ray.core.files import file_digest
    from prefine_ray.experiment.cells import TaskInputs, make_cells, make_packs
    from prefine_ray.experiment.config import SweepConfig, load_config
    from prefine_ray.experiment.job import FineTuneJob
    from prefine_ray.methods.base import base_policy

    task = get_task(options.task)
    changes = {
        "tasks": (task.name,),
        "methods": ("prefine",),
        "thresholds": (task.middle_threshold if options.threshold is None else options.threshold,),
        "weights": (options.weight,),
        "seeds": tuple(options.seeds),
        **({"base": options.policy} if options.policy else {}),
    }
    config = load_config(options.config, changes) if options.config else SweepConfig(name="finetune", **changes)
    config = config.for_task(task.name)
    if options.labels:
        preferences = config.preferences.model_copy(update={"labels": options.labels})
        config = config.model_copy(update={"preferences": preferences, "preferred": ("labels",)})
    data = _data_file(options)
    base = base_policy(task, config.base)
    inputs = TaskInputs(str(data.resolve()), file_digest(data), str(base), file_digest(base))
    cells = [cell for cell in make_cells(config, {task.name: inputs}) if cell.weight == options.weight]
    first = cells[0]  # of several sets of preferences, too
    cells = [c for c in cells if (c.num_preferred, c.label_noise) == (first.num_preferred, first.label_noise)]
    return FineTuneJob(make_packs(cells, set())[0], inputs, config)


def _train_here(job: FineTuneJob) -> tuple[GaussianPolicy, pd.DataFrame]:
    from tqdm import tqdm

    from prefine_ray.experiment.job import CurveRecorder, make_learner

    learner, recorder = make_learner(job), CurveRecorder(job.pack)
    for step in tqdm(range(1, job.settings.steps + 1), "fine-tuning", unit="step"):
        learner.train(step, recorder)
    return learner.policies(), recorder.frame()


def _train_on_ray(job: FineTuneJob, options: Options) -> tuple[GaussianPolicy, pd.DataFrame]:
    from prefine_ray.orchestration import cluster
    from prefine_ray.orchestration.training import train_pack

    cluster.connect(options.address)
    plan = cluster.plan_resources(job.config.resources, job.config.needs_counterfactual_actors)
    trained = train_pack(job, plan, str((options.output / "ray").resolve()))
    return trained.policies, trained.curves


def evaluate(options: Options) -> None:
    """Evaluates a policy file."""
    from prefine_ray.policies.files import load_policy_for
    from prefine_ray.rollouts.evaluation import evaluate as run
    from prefine_ray.rollouts.evaluation import evaluation_seeds
    from prefine_ray.rollouts.scores import scores
    from prefine_ray.simulators import VectorStepper

    task = get_task(options.task)
    policy = load_policy_for(task, options.policy, options.force)
    seeds = evaluation_seeds(options.experiment_seed, task.name, options.seed, options.episodes)
    result = scores(run(policy, VectorStepper(task, options.episodes), seeds), task)
    print(json.dumps(result) if options.json else _score_lines(result))


def _score_lines(result: dict[str, Any]) -> str:
    lines = [
        f"{result['task']}: {result['episodes']} episodes, mean return {result['mean_return']:.2f} "
        f"(normalised {result['normalized_reward']:.3f}), mean cost {result['mean_cost']:.2f}",
        "threshold  normalised cost  violations  catastrophes",
    ]
    for threshold, cost in result["normalized_cost"].items():
        rates = (result["violation_rate"][threshold], result["catastrophe_rate"][threshold])
        lines.append(f"{threshold:>9}  {cost:15.3f}  {rates[0]:10.0%}  {rates[1]:12.0%}")
    return "\n".join([*lines, f"catastrophe: {result['catastrophe']}"])


def render(options: Options) -> None:
    """Draws an episode."""
    from prefine_ray.policies.files import load_policy_for
    from prefine_ray.rollouts.video import render_episode

    task = get_task(options.task)
    policy = load_policy_for(task, options.policy, options.force)
    threshold = task.middle_threshold if options.threshold is None else options.threshold
    print(render_episode(policy, task, options.output, options.seed, threshold, options.steps))


def sweep(options: Options) -> int:
    """Runs a sweep; 0 when every cell finished, 1 when some failed, 130 when it was interrupted."""
    from prefine_ray.experiment.config import ConfigError, load_config, parse_assignments
    from prefine_ray.orchestration import cluster
    from prefine_ray.orchestration.preflight import check_nodes
    from prefine_ray.orchestration.run_sweep import run_sweep
    from prefine_ray.results.folder import ResultsDir, StorageError
    from prefine_ray.tracking.tracker import Tracker

    overrides = parse_assignments(options.set)
    if options.tasks:
        overrides["tasks"] = tuple(options.tasks)
    if options.actors:
        overrides["resources.rollout_actors"] = options.actors
    config = load_config(options.config, overrides)
    root = options.results or Path("results") / config.name
    check_folders(root, options.data_dir)
    if options.resume and not ResultsDir(root).config_path.exists():
        raise ConfigError(f"{root}: nothing to resume; there is no config.yaml of an earlier run")
    tracker = Tracker(ResultsDir(root), config.name)
    if cluster.connect(options.address):
        check_nodes([root, options.data_dir], tracker.uri)
    if options.retry_failed:
        print(f"{ResultsDir(root).forget_failed()} failed cells will run again")
    try:
        outcome = run_sweep(config, root, options.data_dir, tracker)
    except StorageError:
        tracker.finish("KILLED")
        raise
    if not outcome.complete:
        tracker.finish("KILLED")
        print(f"Interrupted: {outcome.finished} of {outcome.total} cells are finished and on disk in {root}.")
        print(f"Go on with: {resume_command('sweep', options, root)}")
        return 130
    _show_report([root])
    tracker.finish("FINISHED")
    print(f"\n{outcome.finished} cells finished, {outcome.failed} of them failed. MLflow: prefine ui {root}")
    return 1 if outcome.failed else 0


def resume_command(command: str, options: Options, root: Path) -> str:
    """The command that goes on with an interrupted run, with the options that it was started with."""
    words = ["prefine", command, str(options.config), "--results", str(root), "--resume"]
    for name in ("data_dir", "address", "actors", "tasks", "task", "trials", "set"):
        if value := getattr(options, name, None):
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def check_folders(*folders: Path) -> None:
    """Refuses addresses of object stores.

    Raises:
        ConfigError: one is an address and no folder.
    """
    from prefine_ray.experiment.config import ConfigError

    for folder in folders:
        if re.match(r"\w+:/", str(folder)):
            raise ConfigError(f"{folder}: results and data go to a folder; on a cluster, one that all nodes mount")


def report(options: Options) -> None:
    """Makes tables and plots again."""
    from prefine_ray.cli.search import show_search_report
    from prefine_ray.experiment.search_config import is_search

    if options.budget:
        return _show_budget(options.results, options.output)
    if is_search(options.results[0]):
        return show_search_report(options.results[0])
    return _show_report(options.results, options.output)


def _show_budget(folders: list[Path], output: Path | None) -> None:
    from prefine_ray.analysis.report import make_budget_report

    table, *others = make_budget_report(folders, output or folders[0])
    print(table.read_text())
    print("\n".join(map(str, [table, *others])))


def _show_report(folders: list[Path], output: Path | None = None) -> None:
    from prefine_ray.analysis.report import DSRL_DATA, OWN_DATA, console_table, make_report
    from prefine_ray.core.provenance import provenance

    config = _config_of(folders[0])
    sources = {config.for_task(task).data.source for task in config.tasks}
    data_note = DSRL_DATA if sources == {"dsrl"} else OWN_DATA
    paths = make_report(folders, output, data_note, provenance())
    print(console_table(folders))
    print(f"\nTables: {paths.markdown.parent}\nPlots:  {paths.plots[0].parent}\nReport: {paths.page}")


def status(options: Options) -> None:
    """Prints how far a sweep or a search is."""
    from prefine_ray.analysis.status import status_text
    from prefine_ray.cli.search import search_status_text
    from prefine_ray.experiment.search_config import is_search

    text = search_status_text if is_search(options.results) else status_text
    print(text(options.results))


def sync(options: Options) -> int:
    """Sends missing cells to MLflow; 1 when some could not be sent."""
    from prefine_ray.results.folder import ResultsDir
    from prefine_ray.tracking.tracker import Tracker

    report = Tracker(ResultsDir(options.results), _config_of(options.results).name).sync()
    print(report)
    return 1 if report.error else 0


def ui(options: Options) -> None:
    """Serves the MLflow pages on localhost until Ctrl-C."""
    from prefine_ray.results.folder import ResultsDir
    from prefine_ray.tracking.tracker import serve

    serve(ResultsDir(options.results), options.port)


def _config_of(root: Path) -> SweepConfig:
    from prefine_ray.experiment.config import load_config
    from prefine_ray.experiment.search_config import is_search, load_search_config
    from prefine_ray.results.folder import ResultsDir

    path = ResultsDir(root).config_path
    return load_search_config(path) if is_search(root) else load_config(path)
