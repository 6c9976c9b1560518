"""What `prefine search` does, and how reports and states of its folders are shown."""

from __future__ import annotations

import argparse
from pathlib import Path


def search(options: argparse.Namespace) -> int:
    """Runs a hyperparameter search; 0 when every trial ended, 1 when some failed, 130 when it was interrupted."""
    from prefine_ray.cli.commands import check_folders, resume_command
    from prefine_ray.experiment.config import ConfigError, parse_assignments
    from prefine_ray.experiment.search_config import load_search_config
    from prefine_ray.orchestration import cluster
    from prefine_ray.orchestration.preflight import check_nodes
    from prefine_ray.orchestration.run_search import run_search
    from prefine_ray.results.folder import ResultsDir, StorageError
    from prefine_ray.tracking.tracker import Tracker

    overrides = parse_assignments(options.set)
    if options.task:
        overrides["tasks"] = (options.task,)
    if options.trials:
        overrides["search.trials"] = options.trials
    config = load_search_config(options.config, overrides)
    results = ResultsDir(options.results or Path("results") / config.name)
    check_folders(results.root, options.data_dir)
    if options.resume and not results.config_path.exists():
        raise ConfigError(f"{results.root}: nothing to resume; there is no config.yaml of an earlier run")
    tracker = Tracker(results, config.name)
    if cluster.connect(options.address):
        check_nodes([results.root, options.data_dir], tracker.uri)
    if options.retry_failed:
        print(f"{results.forget_failed()} failed cells will run again")
    try:
        outcome = run_search(config, results.root, options.data_dir, tracker)
    except StorageError:
        tracker.finish("KILLED")
        raise
    if not outcome.complete:
        tracker.finish("KILLED")
        print(f"Interrupted: {outcome.finished} of {outcome.total} trials have ended; they are in {results.root}.")
        print(f"Go on with: {resume_command('search', options, results.root)}")
        return 130
    show_search_report(results.root)
    tracker.finish("FINISHED")
    print(f"\n{outcome.finished} trials ended, {outcome.failed} of them failed. MLflow: prefine ui {results.root}")
    return 1 if outcome.failed else 0


def show_search_report(root: Path) -> None:
    """Makes table, plots and the best setting again from the rows, and prints the table."""
    from prefine_ray.analysis.search_report import report_search
    from prefine_ray.experiment.search_config import load_search_config
    from prefine_ray.results.folder import ResultsDir

    paths, text = report_search(root, load_search_config(ResultsDir(root).config_path))
    plots = ", ".join(str(path) for path in paths.plots)
    print(f"{text}\nTable: {paths.markdown}\nPlots: {plots}\nBest:  {paths.best}")


def search_status_text(root: Path) -> str:
    """How many trials have ended, what the driver does, the best trial so far."""
    from prefine_ray.analysis.rows import ResultsError
    from prefine_ray.analysis.search_report import best_line, trial_table
    from prefine_ray.analysis.status import driver_line
    from prefine_ray.experiment.search_config import load_search_config
    from prefine_ray.results.folder import ResultsDir
    from prefine_ray.results.heartbeat import read_state

    results = ResultsDir(root)
    config = load_search_config(results.config_path)
    head = [f"{config.name} in {root}, a search on {config.tasks[0]}", driver_line(read_state(root))]
    try:
        trials = trial_table(results)
    except ResultsError:
        return "\n".join([*head, f"no trial of {config.search.trials} has ended"])
    failed = int((trials["status"] == "failed").sum())
    return "\n".join(
        [*head, f"{len(trials)} of {config.search.trials} trials have ended, {failed} failed", best_line(trials)]
    )
