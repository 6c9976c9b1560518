from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefine_ray.analysis import report as report_module
from prefine_ray.analysis.report import DSRL_DATA, Report, console_table, make_report
from prefine_ray.analysis.rows import ResultsError, load_results
from prefine_ray.analysis.summary import summarize
from prefine_ray.cli.parser import main
from tests.analysis.synthetic import synthetic_episodes, write_results


class Page(HTMLParser):
    """Checks that tags nest, and keeps the addresses that the page would load."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(report: Report):
    text = report.page.read_text()
    page = Page(text)
    assert page.open == []
    assert "default-src 'none'; img-src data:" in text
    assert [source.split(",")[0] for source in page.sources] == ["data:image/png;base64"] * len(report.plots)
    embedded = {base64.b64decode(source.split(",")[1]) for source in page.sources}
    assert embedded == {path.read_bytes() for path in report.plots}
    assert 'name="viewport"' in text


def test_the_page_tells_the_headline_first_and_the_provenance_last(report: Report):
    text = report.page.read_text()
    words = ("At its best weight", "Headline:", "How to read", "Suite averages", "Bullet, cost threshold 20", "Plots")
    positions = [text.index(word) for word in (*words, "abc123 &lt;dirty&gt;", "weights: [0, 1, 5, 20]")]
    assert positions == sorted(positions)
    assert re.search(r'class="num safe">0\.61<span class="interval">\[', text)
    assert re.search(r'class="num unsafe">4\.78<span', text)
    assert "numpy " in text


def test_rows_of_the_page_have_the_columns_of_their_header(report: Report):
    for table in re.findall(r"<thead>.*?</table>", report.page.read_text(), flags=re.S):
        head, body = table.split("</thead>")
        first = re.findall(r"<tr>(.*?)</tr>", head, flags=re.S)[0]
        spans = [int(span) for span in re.findall(r'colspan="(\d+)"', first)]
        columns = sum(spans) + first.count("rowspan")
        rows = [row for row in re.findall(r"<tr.*?</tr>", body, flags=re.S) if "<td" in row]
        assert {row.count("<td") for row in rows} == {columns}


def test_tables_made_again_from_shuffled_rows_are_the_same_bytes(
    report: Report, two_tasks: pd.DataFrame, tmp_path: Path
):
    again = make_report(write_results(tmp_path, two_tasks.sample(frac=1.0, random_state=0), with_training=True))
    for name in ("markdown", "csv", "latex", "suites"):
        assert getattr(again, name).read_bytes() == getattr(report, name).read_bytes()


def test_markdown_carries_the_warning_the_caveat_and_the_definition_of_a_catastrophe(report: Report):
    text = report.markdown.read_text()
    for words in (
        "Fewer than 5 seeds (N = 3)",
        "made by this project's own behaviour policies",
        "which share one data set",
        "over twice the threshold, or that the simulator ended because the agent fell",
        "**Bold**: safe",
    ):
        assert words in text
    assert text.index("## Headline") < text.index("## How to read") < text.index("## Suite") < text.index("## Bullet")


def test_csv_is_tidy(report: Report):
    rows = pd.read_csv(report.csv)
    keys = ["task", "preferred", "threshold", "method", "weight"]
    assert len(rows) == 10  # two tasks: base and four weights
    assert not rows.duplicated(keys).any()
    assert rows["published_reward"].notna().sum() == 8
    assert (rows["normalized_cost_low"] <= rows["normalized_cost"]).all()
    assert (rows["normalized_cost"] <= rows["normalized_cost_high"]).all()


def test_several_folders_are_one_report_in_a_folder_of_its_own(tmp_path: Path):
    rows = synthetic_episodes(tasks=("BallRun", "CarGoal1"), weights=(0.0, 5.0), seeds=2)
    folders = [write_results(tmp_path / task, rows[rows["task"] == task]) for task in ("BallRun", "CarGoal1")]
    with pytest.raises(ResultsError, match="output folder"):
        make_report(folders)
    paths = make_report(folders, output=tmp_path / "both", data_note=DSRL_DATA)
    assert paths.page == tmp_path / "both" / "report.html"
    text = paths.markdown.read_text()
    assert "| BallRun " in text
    assert "| CarGoal1 " in text
    assert DSRL_DATA in text
    assert not (folders[0] / "tables").exists()


def test_a_report_reads_and_summarises_its_rows_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_tasks):
    functions = {"load_results": load_results, "summarize": summarize}
    counts = dict.fromkeys(functions, 0)
    for name in counts:

        def counted(argument, name=name, function=functions[name]):
            counts[name] += 1
            return function(argument)

        monkeypatch.setattr(report_module, name, counted)
    folder = write_results(tmp_path / "in", two_tasks[two_tasks["task"] == "BallRun"])
    (folder / "config.yaml").write_text("name: study\ntasks: [BallRun]\n")
    assert main(["report", str(folder), "--output", str(tmp_path / "out")]) == 0
    assert counts == {"load_results": 1, "summarize": 1}


def test_console_table_fits_a_terminal(tmp_path: Path):
    rows = synthetic_episodes(weights=(0.0, 0.25, 20.0), seeds=4, episodes=2)
    rows["cost"] *= np.where(rows["weight"] == 0.0, 12.0, 1.0)
    text = console_table(summarize(load_results(write_results(tmp_path, rows))))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 120
    assert text.isascii()
    ball = next(line for line in lines if line.startswith("BallRun")).split()
    assert ball[1] == "20"
    assert ball[3].endswith("!")  # the base policy's cost is unsafe
    assert ball[-1] == "0.41"
    assert "Warning: Fewer than 5 seeds (N = 4)" in text
