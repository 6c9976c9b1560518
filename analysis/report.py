"""`prefine report`: tables, plots and one self-contained page, made again from the rows of a results folder."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import jinja2
import pandas as pd

from prefine_ray.analysis.headline_file import headline_text
from prefine_ray.analysis.plots.clips import Clip, clips
from prefine_ray.analysis.plots.efficiency import budget, budget_rows, budget_table
from prefine_ray.analysis.plots.save import save_plots
from prefine_ray.analysis.plots.style import Plot, save_figure
from prefine_ray.analysis.rows import Results, ResultsError, load_results
from prefine_ray.analysis.summary import Summary, summarize
from prefine_ray.analysis.tables.all_tables import all_tables
from prefine_ray.analysis.tables.cells import CHOSEN, STAR
from prefine_ray.analysis.tables.formats import (
    LATEX_HEADER,
    MARKDOWN_LEGEND,
    header_groups,
    to_latex,
    to_markdown,
    to_text,
)
from prefine_ray.analysis.tables.headline import Table, headline_sentence, headline_tables, method_tables
from prefine_ray.analysis.tables.offline import offline_rows, offline_table, offline_trials
from prefine_ray.analysis.wording import definitions, kind_text
from prefine_ray.core.files import write_text
from prefine_ray.core.provenance import REPORT_PACKAGES, installed_version
from prefine_ray.results.folder import ResultsDir

OWN_DATA = (
    "The preference data were made by this project's own behaviour policies, not taken from DSRL's files: scores are"
    " comparable with one another, not one to one with published ones."
)
DSRL_DATA = "The preference data are DSRL's published files."
GIVEN_DATA = (
    "The preference data are of the user's own file or policies (data.source): scores are comparable with one another,"
    " not with published ones."
)
CONSOLE_WIDTH = 120
CONSOLE_LEGEND = (
    "reward, cost: normalised; viol: episodes over the threshold thr; !: unsafe, ?: uncertain (the 95 % interval of\n"
    "the cost is above 1; contains 1 or is absent). Against base: violations and catastrophes (cost over 2 thr, or a\n"
    "fall) saved, reward kept. Publ.: PREFINE's published reward."
)


@dataclass(frozen=True)
class Report:
    """What `make_report` wrote where, and the summary that it shows."""

    summary: Summary
    page: Path  # report.html
    markdown: Path  # tables/summary.md
    csv: Path  # tables/summary.csv: one row per task, preferences, threshold, method and weight
    latex: Path  # tables/summary.tex
    suites: Path  # tables/suites.csv: the suite averages
    plots: tuple[Path, ...]


@dataclass(frozen=True)
class OfflineReport:
    """What is told of tasks without an environment."""

    text: str  # for the terminal
    markdown: Path
    alone: bool  # no other task has rows


def make_report(
    folders: Path | Sequence[Path],
    output: Path | None = None,
    data_note: str = OWN_DATA,
    provenance: Mapping[str, str] | None = None,
    draw_clips: bool = False,
) -> Report:
    """Writes tables/, plots/ and report.html from the rows of one or more results folders.

    Args:
        folders: results folders; cells that stand in several count once.
        output: where to write; the results folder itself where there is only one.
        data_note: one sentence on where the preference data came from.
        provenance: what made the results (commit, machine, package versions, ...), printed on the page.
        draw_clips: draws episodes of base and picked policies, as far as they are not there yet; seconds each.

    Raises:
        ResultsError: rows are absent or wrong, or several folders were given and no output.
    """
    results = load_results(folders)
    if output is None:
        if len(results.folders) > 1:
            raise ResultsError("a report over several results folders needs an output folder")
        output = results.folders[0]
    summary = summarize(results)
    tables = all_tables(summary)
    written = ResultsDir(output)
    paths = _write_tables(summary, tables, written.tables_folder, data_note)
    write_text(written.headline_path, headline_text(summary, results.episodes))
    plots = save_plots(summary, results.curves, written.plots_folder)
    shown = clips(results, summary, written.clips_folder, draw_clips)
    page = _page(results, summary, tables, plots, shown, data_note, provenance or {})
    write_text(written.report_page, page)
    return Report(summary, written.report_page, *paths, tuple(plot.path for plot in plots))


def make_offline_report(folders: Sequence[Path], output: Path | None = None) -> OfflineReport | None:
    """Writes tables/offline.{md,csv} about the tasks without an environment, which nothing was evaluated on.

    Where the folders hold no other tasks, they are tables/summary.{md,csv} too.

    Returns:
        None where every task has an environment.
    """
    frames = [offline_trials(folder) for folder in folders]
    trials = pd.concat(frames, ignore_index=True)
    if trials.empty:
        return None
    rows = offline_rows(trials)
    table, folder = offline_table(rows), ResultsDir(output or folders[0]).tables_folder
    alone = not any(ResultsDir(one).merged_path("episodes").exists() for one in folders)
    for name in ("offline", "summary") if alone else ("offline",):
        write_text(folder / f"{name}.md", f"# Results\n\n> **Warning.** {table.caption}\n\n{to_markdown(table)}")
        write_text(folder / f"{name}.csv", _csv(rows))
    return OfflineReport(f"{_filled(table.caption)}\n\n{to_text(table)}", folder / "offline.md", alone)


def make_budget_report(folders: Sequence[Path], output: Path) -> list[Path]:
    """Writes budget.md, .csv and .png: reward and cost against the gradient steps of sweeps that differ in them alone.

    Raises:
        ResultsError: rows are absent or wrong.
    """
    parts = []
    for folder in folders:
        results = load_results(folder)
        if results.trials.empty:
            raise ResultsError(
                f"{ResultsDir(folder).merged_path('trials')}: no such file; gradient steps and times are read from it"
            )
        summary = summarize(results)
        if summary.suites.empty:
            raise ResultsError(f"{folder}: no task of the benchmark; the averages are over these")
        parts.append(budget_rows(summary, results.trials))
    rows = pd.concat(parts, ignore_index=True)
    table, csv, picture = (output / f"budget.{suffix}" for suffix in ("md", "csv", "png"))
    write_text(table, to_markdown(budget_table(rows)))
    write_text(csv, _csv(rows))
    save_figure(budget(rows), picture, "")
    return [table, csv, picture]


def console_table(summary: Summary) -> str:
    """The headline as plain text of at most 120 columns, with the warnings."""
    parts = []
    for variant, table in zip(summary.variants, headline_tables(summary, compact=True), strict=True):
        sentence = textwrap.fill(headline_sentence(summary, variant), CONSOLE_WIDTH)
        parts.append(f"Preferred: {kind_text(variant)}\n{to_text(table)}{sentence}")
    parts += [f"{table.title}\n{to_text(table)}".rstrip() for table in method_tables(summary)]
    warnings = [_filled(f"Warning: {warning}") for warning in summary.warnings]
    return "\n\n".join([*parts, "\n".join([CONSOLE_LEGEND, *warnings])]) + "\n"


def _filled(text: str) -> str:
    """Lines of CONSOLE_WIDTH columns in which paths stay whole."""
    return textwrap.fill(text, CONSOLE_WIDTH, break_long_words=False, break_on_hyphens=False)


def _write_tables(summary: Summary, tables: list[Table], folder: Path, data_note: str) -> tuple[Path, Path, Path, Path]:
    names = ("summary.md", "summary.csv", "summary.tex", "suites.csv")
    markdown, csv, latex, suites = (folder / name for name in names)
    write_text(markdown, _markdown(summary, tables, data_note))
    write_text(csv, _csv(summary.cells))
    write_text(latex, "\n".join([LATEX_HEADER, *map(to_latex, tables)]))
    write_text(suites, _csv(summary.suites))
    return markdown, csv, latex, suites


def _markdown(summary: Summary, tables: list[Table], data_note: str) -> str:
    headlines = [headline_sentence(summary, variant) for variant in summary.variants]
    warnings = [f"> **Warning.** {warning}" for warning in summary.warnings]
    legend = "\n".join(f"- {definition}" for definition in (MARKDOWN_LEGEND, *definitions(summary.coverage)))
    first, *rest = map(to_markdown, tables)
    lead = ["# Results", *headlines, *warnings, f"> **Data.** {data_note}"]
    return "\n\n".join([*lead, first.rstrip(), "## How to read the tables", legend, *map(str.rstrip, rest)]) + "\n"


def _csv(rows: pd.DataFrame) -> str:
    return rows.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _page(
    results: Results,
    summary: Summary,
    tables: list[Table],
    plots: list[Plot],
    shown: list[Clip],
    data_note: str,
    provenance: Mapping[str, str],
) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    pictures = [(_embedded(plot.path), plot) for plot in plots]
    by_task = [
        (task, [(_embedded(clip.path), clip) for clip in group]) for task, group in groupby(shown, lambda c: c.task)
    ]
    return environment.get_template("report_template.html").render(
        headlines=[headline_sentence(summary, variant) for variant in summary.variants],
        warnings=summary.warnings,
        data_note=data_note,
        definitions=definitions(summary.coverage),
        star=STAR,
        chosen=CHOSEN,
        tables=tables,
        headline_count=len(summary.variants),
        header_groups=header_groups,
        pictures=pictures,
        clips=by_task,
        failures=_failures(results.trials),
        provenance={**provenance, "Page made with": _versions()},
        config=results.config,
    )


def _embedded(path: Path) -> str:
    """A file's content as it stands in the page."""
    return base64.b64encode(path.read_bytes()).decode()


def _failures(trials: pd.DataFrame) -> list[dict[str, str]]:
    """The failed cells: task, setting and error."""
    if "status" not in trials:
        return []
    failed = trials[trials["status"] == "failed"]
    return [
        {
            "task": row["task"],
            "setting": _setting(row),
            "error": str(row["error"]),
        }
        for _, row in failed.iterrows()
    ]


def _setting(row: pd.Series) -> str:
    """The axes of a cell that apply to it."""
    axes = [f"{name} {row[name]:g}" for name in ("threshold", "weight") if not pd.isna(row[name])]
    return ", ".join([str(row["method"]), *axes, f"seed {row['seed']}"])


def _versions() -> str:
    return ", ".join(f"{name} {installed_version(name)}" for name in REPORT_PACKAGES)
