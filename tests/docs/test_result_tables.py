"""The tables of results in the pages are those that the rows in docs/results give."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from prefine_ray.experiment.config import dump_config, load_config
from prefine_ray.experiment.shipped import find_config
from tests.analysis.synthetic import synthetic_episodes, write_results
from tests.docs.conftest import ROOT


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        return importlib.import_module("result_tables")


def block(of: str) -> str:
    return f"Before\n\n<!-- table: {of} -->\nold\n<!-- end of table -->\n\nAfter\n"


def test_every_table_is_what_the_rows_give_and_an_altered_digit_is_not(tables: ModuleType):
    for name in ("README.md", "docs/results.md"):
        text = (ROOT / name).read_text()
        assert text.count("<!-- table: ") >= 1
        assert tables.rebuilt(ROOT / name) == text, "make result-tables"
        altered = re.sub(
            r"(PREFINE, best weight \| +\d\.)(\d)", lambda f: f"{f[1]}{(int(f[2]) + 1) % 10}", text, count=1
        )
        assert altered != text
        assert tables.rebuilt(ROOT / name, altered) == text


def test_check_fails_on_a_page_that_is_out_of_date(tables: ModuleType, tmp_path: Path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text(block("means quick"))
    monkeypatch.setattr(tables, "PAGES", [page])
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    assert tables.main(["--check"]) == 1
    assert "page.md: not what the rows give" in capsys.readouterr().out
    assert tables.main([]) == 0
    assert tables.main(["--check"]) == 0
    assert page.read_text().startswith("Before\n\n<!-- table: means quick -->\n\n| Policy ")


def test_a_new_folder_of_the_quick_sweep_names_its_commit_and_its_settings(
    tables: ModuleType, tmp_path: Path, monkeypatch
):
    folder = write_results(tmp_path / "quick", synthetic_episodes(), with_training=True)
    config = load_config(find_config("quick"))
    trials = folder / "trials.parquet"
    pd.read_parquet(trials).assign(commit="0123456789ab").to_parquet(trials)
    (folder / "config.yaml").write_text(dump_config(config))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    page = tmp_path / "page.md"
    means = tables.rebuilt(page, block("means quick commit=ffffff"))
    assert [line.split("|")[1].strip() for line in means.splitlines() if line.startswith("| ")] == [
        "Policy", "--------------------", "base policy", "PREFINE, weight 0", "PREFINE, best weight",
    ]  # fmt: skip
    told = " ".join(means.split())
    assert "[`config.yaml`](quick/config.yaml), the shipped `quick`; trained on what" in told
    assert "the selection (contrast, share 0.5) keeps of the preferred ones. Commit: 0123456789ab." in told
    assert "**Warning.** Fewer than 5 seeds (N = 3)" in told
    assert tables.rebuilt(page, block("tasks quick")).count("\n| ") == 2 + 10
    (folder / "config.yaml").write_text(dump_config(config.model_copy(update={"seed": 9, "name": "quick"})))
    assert "the shipped `quick` but for seed; trained" in " ".join(tables.rebuilt(page, block("means quick")).split())


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ("sums quick", "no kind of table 'sums'"),
        ("means quick method=sft", "no option method"),
        ("tasks paper preferred=best", "the rows have best-100, random-100"),
    ],
)
def test_a_wrong_first_line_is_refused(tables: ModuleType, of: str, said: str):
    with pytest.raises(tables.PageTableError, match=re.escape(said)):
        tables.rebuilt(ROOT / "README.md", block(of))


def test_a_table_without_its_last_line_is_refused(tables: ModuleType):
    with pytest.raises(tables.PageTableError, match="end of table"):
        tables.rebuilt(ROOT / "README.md", "<!-- table: means quick -->\n")
