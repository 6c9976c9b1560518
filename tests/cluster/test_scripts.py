"""The shell scripts: syntax, shellcheck, and what they say when called wrongly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster"
SHELLCHECK = Path(sys.executable).parent / "shellcheck"  # of requirements-dev.txt
SCRIPTS = sorted(
    [*FOLDER.rglob("*.sh"), *FOLDER.rglob("*.sbatch"), *(ROOT / "scripts").glob("*.sh"), *(ROOT / ".ci").iterdir()]
)


def name_of(path: Path) -> str:
    return path.name


def test_all_scripts_are_found() -> None:
    of_clusters = {"local.sh", "sweep.sbatch", "local-slurm.sh", "postgres.sh", "server.sh"}
    of_installing = {"install.sh", "install-torch.sh", "check-fresh.sh", "check-python.sh", "wheel.sh", "run"}
    assert {path.name for path in SCRIPTS} >= of_clusters | of_installing


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_bash_reads_the_script(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "set -euo pipefail" in script.read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_shellcheck_is_content(script: Path) -> None:
    done = subprocess.run(
        [str(SHELLCHECK), "--shell=bash", "--severity=warning", str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "script", [path for path in SCRIPTS if path.suffix == ".sh" and path.name != "check-fresh.sh"], ids=name_of
)
def test_a_script_called_without_arguments_explains_itself(script: Path) -> None:
    done = subprocess.run([str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{script.relative_to(ROOT)}" in done.stdout


def test_the_batch_script_asks_for_a_configuration() -> None:
    done = subprocess.run(["bash", str(FOLDER / "slurm" / "sweep.sbatch")], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "usage: sbatch" in done.stderr
