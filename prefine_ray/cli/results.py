"""Commands on a results folder: `status`, `report`, `sync`, `ui`."""

from __future__ import annotations

import sys
from pathlib import Path

from prefine_ray.cli.options import Commands, Options, add_results, place, whole_number


def register(add: Commands) -> None:
    """Adds the commands."""
    text = "progress of a sweep: cells, pace, time left, best so far, errors; while it runs or later, on any machine"
    add_results(add("status", status, text, "prefine status results/quick"))
    parser = add("report", report, "make tables and plots from the rows", "prefine report results/quick")
    parser.add_argument("results", type=place, nargs="+", metavar="DIR", help="results folders; several are merged")
    parser.add_argument("--output", type=place, metavar="DIR", help="where to write (default: the results folder)")
    text = "draw an episode of every task's base and picked policy for the page; seconds each, needs OpenGL"
    parser.add_argument("--clips", action="store_true", help=text)
    parser.add_argument(
        "--budget",
        action="store_true",
        help="the folders hold one sweep at several numbers of gradient steps: plot reward and cost against them",
    )
    text = "send MLflow what it lacks; as TensorBoard's event files, too, if asked"
    parser = add("sync", sync, text, "prefine sync results/quick --register safe-policy")
    add_results(parser)
    parser.add_argument(
        "--register",
        metavar="PREFIX",
        help="make the picked policies versions of registered models PREFIX-<task>-<kind>-<threshold>",
    )
    parser.add_argument("--tensorboard", action="store_true", help="write DIR/tensorboard, a run per cell")
    parser = add("ui", ui, "open the MLflow pages of a results folder", "prefine ui results/quick")
    add_results(parser)
    parser.add_argument(
        "--port", type=whole_number(1, 65535), default=5000, metavar="P", help="on localhost (default: %(default)s)"
    )


def status(options: Options) -> None:
    """Prints the progress of a sweep or a search."""
    from prefine_ray.analysis.progress.status import status_text
    from prefine_ray.results.folder import ResultsDir

    text = search_status_text if ResultsDir(options.results).is_search else status_text
    print(text(options.results))


def report(options: Options) -> None:
    """Makes tables and plots again."""
    from prefine_ray.results.folder import ResultsDir

    if options.budget:
        return _show_budget(options.results, options.output)
    if ResultsDir(options.results[0]).is_search:
        return show_search_report(options.results[0])
    return show_report(options.results, options.output, options.clips)


def sync(options: Options) -> int:
    """Sends missing cells to MLflow; 1 when some could not be sent, or files are damaged."""
    from prefine_ray.analysis.progress.status import damage_lines
    from prefine_ray.results.folder import ResultsDir
    from prefine_ray.results.own_tasks import add_stored_tasks
    from prefine_ray.tracking.tensorboard import write_events
    from prefine_ray.tracking.tracker import Tracker

    results = ResultsDir(options.results)
    add_stored_tasks(results)
    tracker = Tracker(results, str(results.saved_config().get("name")))
    report = tracker.sync()
    print(report)
    if options.register and not report.error:
        print("\n".join(tracker.register(options.register)) or "no picked policy yet; the sweep has to end first")
    if options.tensorboard:
        print(f"{write_events(results)} cells written to {results.tensorboard_folder}")
    damages = damage_lines(results.find_damages())
    for line in damages:
        print(line, file=sys.stderr)
    return 1 if report.error or damages else 0


def ui(options: Options) -> None:
    """Serves the MLflow pages on localhost until Ctrl-C."""
    from prefine_ray.results.folder import ResultsDir
    from prefine_ray.tracking.mlflow_ui import serve

    serve(ResultsDir(options.results), options.port)


def show_report(folders: list[Path], output: Path | None = None, draw_clips: bool = False) -> None:
    """Makes a sweep's tables, plots and page again from the rows, and prints the table."""
    from prefine_ray.analysis.report import (
        DSRL_DATA,
        GIVEN_DATA,
        OWN_DATA,
        console_table,
        make_offline_report,
        make_report,
    )
    from prefine_ray.core.provenance import provenance
    from prefine_ray.results.folder import ResultsDir

    if offline := make_offline_report(folders, output):
        print(f"{offline.text}\nTable: {offline.markdown}\n")
        if offline.alone:
            return
    source = (ResultsDir(folders[0]).saved_config().get("data") or {}).get("source", "zoo")
    data_note = {"dsrl": DSRL_DATA, "zoo": OWN_DATA}.get(source, GIVEN_DATA)
    report = make_report(folders, output, data_note, provenance(), draw_clips)
    print(console_table(report.summary))
    print(f"\nTables: {report.markdown.parent}\nPlots:  {report.plots[0].parent}\nReport: {report.page}")


def show_search_report(root: Path) -> None:
    """Makes table, plots and the best setting again from the rows, and prints the table."""
    from prefine_ray.analysis.search.report import report_search
    from prefine_ray.experiment.search_config import load_search_config
    from prefine_ray.results.folder import ResultsDir
    from prefine_ray.results.own_tasks import add_stored_tasks

    results = ResultsDir(root)
    add_stored_tasks(results)
    paths, text = report_search(root, load_search_config(results.config_path))
    plots = ", ".join(str(path) for path in paths.plots)
    print(f"{text}\nTable: {paths.markdown}\nPlots: {plots}")
    if paths.best:
        print(f"Best:  {paths.best}, sections to paste into a sweep's configuration")


def _show_budget(folders: list[Path], output: Path | None) -> None:
    from prefine_ray.analysis.report import make_budget_report

    table, *others = make_budget_report(folders, output or folders[0])
    print(table.read_text())
    print("\n".join(map(str, [table, *others])))


def search_status_text(root: Path) -> str:
    """How many trials have ended, what the driver does, the best trial so far."""
    from prefine_ray.analysis.progress.status import damage_lines, driver_line
    from prefine_ray.analysis.rows import ResultsError
    from prefine_ray.analysis.search.report import best_line, count_line, where
    from prefine_ray.analysis.search.table import read_search
    from prefine_ray.experiment.search_config import load_search_config
    from prefine_ray.results.folder import ResultsDir
    from prefine_ray.results.heartbeat import read_state
    from prefine_ray.results.own_tasks import add_stored_tasks

    results = ResultsDir(root)
    add_stored_tasks(results)
    config = load_search_config(results.config_path)
    head = [f"{config.name} in {root}, a search on {where(config)}", driver_line(read_state(root))]
    head += damage_lines(results.find_new_damages())
    try:
        tables = read_search(results, config)
    except ResultsError:
        return "\n".join([*head, f"no trial of {config.search.trials} has ended"])
    return "\n".join([*head, count_line(tables, config), best_line(tables, config)])
