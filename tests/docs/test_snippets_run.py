"""What the pages tell people to type is run, page by page, in a folder that looks like the repository.

See `tests/docs/snippets.py` for the comments by which a page says what is not run, and why.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs import run_page
from tests.docs.conftest import ROOT
from tests.docs.snippets import MarkError, Snippet, snippets

PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "cluster").rglob("*.md"),
    *(ROOT / "examples").rglob("*.md"),
    *(page for page in (ROOT / "docs").rglob("*.md") if "results" not in page.relative_to(ROOT / "docs").parts),
]
LINKED = ("benchmarks", "docs", "prefine_ray", "tune_configs")
QUICK_S, WHOLE_S = 120, 1500  # of a page, on a busy machine


def blocks_of(page: Path) -> list[Snippet]:
    return snippets(page.read_text())


def pages(wanted: Callable[[Snippet], bool]) -> list[str]:
    """The pages with such a block, and those whose comments are wrong, so that their test fails."""
    found = []
    for page in PAGES:
        try:
            listed = any(map(wanted, blocks_of(page)))
        except MarkError:
            listed = True
        found += [page.relative_to(ROOT).as_posix()] * listed
    return sorted(found)


def run(blocks: list[tuple[str, str]], folder: Path, limit_s: float) -> None:
    """Runs blocks in a folder with links to the repository's, and copies where examples write."""
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "examples", folder / "examples")
    commands = folder / "bin"
    commands.mkdir()
    for name, words in {"prefine": "-m prefine_ray", "python": ""}.items():
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (commands / name).chmod(0o755)
    told = folder / "blocks.json"
    told.write_text(json.dumps(blocks))
    kept = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    environment = kept | {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "MPLBACKEND": "agg",
    }
    command = [sys.executable, run_page.__file__, str(told)]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit_s,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", pages(lambda block: bool(block.quick)))
def test_the_quick_blocks_of_a_page_run(name: str, tmp_path: Path):
    blocks = [(block.language, block.quick) for block in blocks_of(ROOT / name) if block.quick]
    run(blocks, tmp_path, QUICK_S)


@pytest.mark.slow
@pytest.mark.timeout(WHOLE_S + 60)
@pytest.mark.parametrize("name", pages(lambda block: block.whole != block.quick))
def test_all_blocks_of_a_page_run(name: str, tmp_path: Path):
    blocks = [(block.language, block.whole) for block in blocks_of(ROOT / name) if block.whole]
    run(blocks, tmp_path, WHOLE_S)


PAGE = """<!-- not run, `make`: installs -->
<!-- slow, `sleep`: long -->
<!-- run as, `100`: 1 -->
<!-- first: touch there -->

```sh
make install
cat there   # {0}
sleep 100
```
"""


def test_comments_say_what_is_run():
    quick = "touch there\ncat there   # {0}\n"
    assert snippets(PAGE) == [Snippet("sh", quick, quick + "sleep 1\n")]
    assert snippets("<!-- not run: hours -->\n```python\nx = 1\n```\n") == [Snippet("python", "", "")]
    assert snippets("```sh\na \\\n  b\n# c\n```\n")[0].quick == "a b\n# c\n"


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (PAGE.replace("make install", "pip install"), "'make' is named"),
        (PAGE.replace("100\n", "99\n"), "'100' is named"),
        ("<!-- slow: Ray -->\n\nText\n", "stands above no block"),
        ("Text\n\n    prefine sweep quick\n", "prefine sweep quick: commands stand in a fence"),
    ],
)
def test_comments_that_say_nothing_are_refused(page: str, said: str):
    with pytest.raises(MarkError, match=said):
        snippets(page)


def test_a_block_that_fails_is_found(tmp_path: Path):
    with pytest.raises(AssertionError, match="no-such-command"):
        run([("python", "x = 1"), ("sh", "no-such-command\ntrue")], tmp_path, QUICK_S)


def test_blocks_of_a_page_share_names_and_folder(tmp_path: Path):
    run(
        [("python", "x = 1"), ("sh", "touch there"), ("python", "import os\nassert x and os.path.exists('there')")],
        tmp_path,
        60,
    )
