"""Rebuilds the tables of results in README.md and docs/ from the rows in docs/results.

A page says where a table stands, and of which rows; everything between the two lines is written by this command:

    <!-- table: means paper methods=sft,bc_safe commit=c95b7c6 -->
    <!-- end of table -->

KIND is `means` (over the tasks; `methods` shows these beside PREFINE, by default all) or `tasks` (one row per task;
`preferred` names the kind of preferences where there are several, as best-100). FOLDER is one in docs/results. `commit`
counts where the rows do not record theirs.

    python scripts/result_tables.py            # writes
    python scripts/result_tables.py --check    # ends with 1 and names the pages whose tables are not what the rows give
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from prefine_ray.analysis.rows import Results, load_results
from prefine_ray.analysis.summary import Summary, summarize
from prefine_ray.analysis.tables.cells import Table, counts_text
from prefine_ray.analysis.tables.compact import means_table, tasks_table
from prefine_ray.analysis.tables.formats import pipe_table
from prefine_ray.core.errors import PrefineError
from prefine_ray.core.files import write_text
from prefine_ray.experiment.config import ConfigError, load_config
from prefine_ray.experiment.shipped import shipped_configs
from prefine_ray.results.folder import ResultsDir

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RESULTS = ROOT / "docs" / "results"
_BLOCK = re.compile(
    r"^<!-- table: (?P<kind>\w+) (?P<folder>[\w-]+)(?P<options>(?: \w+=\S+)*) -->\n.*?^<!-- end of table -->$",
    re.MULTILINE | re.DOTALL,
)
_OPTIONS = {"means": {"methods", "commit"}, "tasks": {"preferred", "commit"}}
WIDTH = 120
_NOT_SETTINGS = {"name", "resources"}  # of a configuration: what no number depends on


class PageTableError(PrefineError, ValueError):
    """A table's first line that cannot be followed; the message names the page."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes, or with --check compares; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where a table is out of date")
    check = parser.parse_args(arguments).check
    changed = {page: text for page in PAGES if (text := rebuilt(page)) != page.read_text()}
    for page, text in changed.items():
        print(f"{page.relative_to(ROOT)}: {'not what the rows give; run make result-tables' if check else 'written'}")
        if not check:
            write_text(page, text)
    return int(check and bool(changed))


def rebuilt(page: Path, text: str | None = None) -> str:
    """The page with its tables as the rows give them.

    Args:
        page: links are relative to it.
        text: its content; by default what stands in the file.

    Raises:
        PageTableError: a table's first line is wrong, or has no last line.
    """
    text = page.read_text() if text is None else text
    if text.count("<!-- table:") != len(_BLOCK.findall(text)):
        raise PageTableError(f"{page}: `<!-- table: KIND FOLDER [KEY=VALUE] -->` needs `<!-- end of table -->` below")
    return _BLOCK.sub(lambda block: _block(page, block), text)


def _block(page: Path, block: re.Match[str]) -> str:
    kind, folder = block["kind"], RESULTS / block["folder"]
    options = dict(pair.split("=", 1) for pair in block["options"].split())
    if kind not in _OPTIONS or (unknown := options.keys() - _OPTIONS[kind]):
        wrong = f"no option {', '.join(sorted(unknown))}" if kind in _OPTIONS else f"no kind of table {kind!r}"
        raise PageTableError(f"{page}: {block[0].splitlines()[0]}: {wrong}; there are {_OPTIONS}")
    results, summary = _read(folder)
    table = _table(page, kind, summary, options)
    told = [f"{table.caption} {_source(page, folder, summary, _commit(results, options))}"]
    told += [f"**Warning.** {warning}".replace(f"{ROOT}/", "") for warning in summary.warnings]
    text = "\n\n".join(textwrap.fill(part, WIDTH, break_long_words=False, break_on_hyphens=False) for part in told)
    return "\n".join([block[0].splitlines()[0], "", pipe_table(table), text, "", "<!-- end of table -->"])


@cache
def _read(folder: Path) -> tuple[Results, Summary]:
    results = load_results(folder)
    return results, summarize(results)


def _table(page: Path, kind: str, summary: Summary, options: dict[str, str]) -> Table:
    if kind == "means":
        return means_table(summary, tuple(filter(None, options.get("methods", "").split(","))))
    variant = options.get("preferred", summary.variants[0])
    if variant not in summary.variants:
        raise PageTableError(f"{page}: preferred={variant}: the rows have {', '.join(summary.variants)}")
    return tasks_table(summary, variant)


def _source(page: Path, folder: Path, summary: Summary, commit: str) -> str:
    """Where the numbers are from: rows, their number, configuration and commit."""
    ours = summary.cells[summary.cells["method"] == "prefine"]
    counts = ", ".join(sorted({counts_text(row) for _, row in ours.iterrows()}))
    rows, settings = (os.path.relpath(folder / name, page.parent) for name in ("summary.md", "config.yaml"))
    return (
        f"Rows: [`{folder.name}`]({rows}), {counts} episodes (seeds times episodes of each) per task and weight."
        f" Settings: [`config.yaml`]({settings}), {_age(folder / 'config.yaml')}{_selection(folder)}. Commit: {commit}."
    )


def _commit(results: Results, options: dict[str, str]) -> str:
    """The commits that the rows name, else the one that the page gives."""
    recorded = results.trials["commit"].dropna().unique() if "commit" in results.trials else []
    return ", ".join(sorted(recorded)) or options.get("commit", "not recorded")


def _selection(folder: Path) -> str:
    """Which of the preferred trajectories were trained on, where a selection was made."""
    found = ResultsDir(folder).saved_config().get("selection") or []
    rules = [f"{one['rule']}, share {one['share']:g}" for one in found if one["rule"] != "none"]
    return f"; trained on what the selection ({'; '.join(rules)}) keeps of the preferred ones" if rules else ""


def _age(config: Path) -> str:
    """Whether the settings are still those of the shipped configuration of that name."""
    try:
        ran = load_config(config).model_dump(mode="json")
    except ConfigError:  # keys of then
        return "of an earlier version"
    shipped = shipped_configs().get(ran["name"])
    now = load_config(shipped).model_dump(mode="json") if shipped else {}
    differing = [key for key in ran if key not in _NOT_SETTINGS and ran[key] != now.get(key)]
    if not shipped:
        return "not a shipped one"
    return f"the shipped `{ran['name']}`" + (f" but for {', '.join(differing)}" if differing else "")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PrefineError as error:
        sys.exit(str(error))
