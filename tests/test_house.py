"""The house itself: its layers, the size of its rooms, and the number of its floors."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_MODULES = 14
MOST_FLOORS = 8


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the package in a folder."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_rooms_import_lower_ones_only():
    found = lint_imports(ROOT)
    assert found.returncode == 0, found.stdout


def test_a_planted_violation_is_found(tmp_path: Path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__", "zoo")
    shutil.copytree(ROOT / "prefine_ray", tmp_path / "prefine_ray", ignore=ignored)
    files = tmp_path / "prefine_ray" / "core" / "files.py"
    files.write_text(files.read_text() + "\n\ndef planted():\n    from prefine_ray.experiment import config\n")
    seeding = tmp_path / "prefine_ray" / "results" / "heartbeat.py"
    seeding.write_text("import ray\n" + seeding.read_text())
    found = lint_imports(tmp_path)
    assert found.returncode != 0
    for line in (
        "prefine_ray.core is not allowed to import prefine_ray.experiment",
        "prefine_ray.results.heartbeat -> ray",
    ):
        assert line in found.stdout, found.stdout


def test_no_room_holds_more_than_its_share():
    sizes = {
        folder.relative_to(ROOT): sum(path.name != "__init__.py" for path in folder.glob("*.py"))
        for top in ("prefine_ray", "analysis")
        for folder in (ROOT / top, *(path for path in (ROOT / top).rglob("*") if path.is_dir()))
    }
    assert {str(folder): size for folder, size in sizes.items() if size > MOST_MODULES} == {}


def test_there_are_few_floors_and_every_room_is_on_one():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert len(layers) <= MOST_FLOORS
    on_floors = {room.strip() for layer in layers for room in layer.split("|")}
    rooms = {path.name for path in (ROOT / "prefine_ray").iterdir() if (path / "__init__.py").exists()}
    assert rooms - {"tune_configs"} == on_floors
