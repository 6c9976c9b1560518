"""What is declared: Pythons, packages, and what stands in for what on each."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from prefine_ray.cli.doctor import PYTHONS
from prefine_ray.core.requirements import REQUIREMENTS, read_requirements, unmet
from prefine_ray.simulators.packages import REQUIREMENTS as SIMULATORS

ROOT = Path(__file__).parents[2]


def pins(python: str, machine: str) -> dict[str, str]:
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    where = {"python_version": python, "platform_machine": machine}
    all_of_them = [Requirement(line) for line in lines]
    return {one.name: str(one.specifier) for one in all_of_them if one.marker is None or one.marker.evaluate(where)}


@pytest.mark.parametrize(
    ("python", "machine", "physics"),
    [
        ("3.11", "x86_64", {"mujoco": "==2.3.3", "pybullet": "==3.2.7", "numpy": "==1.26.4"}),
        ("3.11", "arm64", {"mujoco": "==2.3.3", "pybullet-arm64": "==3.2.8", "numpy": "==1.26.4"}),
        ("3.12", "x86_64", {"mujoco": "==3.1.6", "pybullet-arm64": "==3.2.8", "numpy": "==1.26.4"}),
        ("3.13", "x86_64", {"mujoco": "==3.3.7", "pybullet-arm64": "==3.2.8", "numpy": "==2.3.5"}),
    ],
)
def test_every_python_has_one_engine_of_each(python, machine, physics):
    names = {"mujoco", "pybullet", "pybullet-arm64", "numpy"}
    assert {name: pin for name, pin in pins(python, machine).items() if name in names} == physics


def test_the_pythons_are_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    supported = SpecifierSet(project["project"]["requires-python"])
    assert [minor for minor in range(20) if f"3.{minor}" in supported] == list(range(PYTHONS[0][1], PYTHONS[1][1] + 1))
    first = f"{PYTHONS[0][0]}.{PYTHONS[0][1]}"
    assert project["tool"]["mypy"]["python_version"] == first
    assert project["tool"]["ruff"]["target-version"] == f"py{first.replace('.', '')}"


def imported(folder: Path) -> set[str]:
    """The top-level modules that the sources in a folder import, wherever in them."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module)
    return {name.partition(".")[0] for name in found}


def test_every_imported_package_is_declared():
    both = [*read_requirements(), *read_requirements(ROOT / "requirements-convert.txt")]
    declared = {canonicalize_name(one.name) for one in both}
    modules = (imported(ROOT / "prefine_ray") | imported(ROOT / "analysis")) - set(sys.stdlib_module_names)
    distributions = packages_distributions()
    undeclared = {
        module
        for module in modules - {"prefine_ray"}
        if not {canonicalize_name(name) for name in distributions.get(module, [])} & declared
    }
    assert not undeclared


def test_the_files_of_the_package_are_those_of_the_checkout():
    assert REQUIREMENTS.read_text() == (ROOT / "requirements.txt").read_text()
    assert SIMULATORS.read_text() == (ROOT / "requirements-simulators.txt").read_text()


def test_unmet_requirements_are_told_with_what_is_installed():
    installed = next(one for one in read_requirements() if one.name == "numpy")
    assert unmet(installed) is None
    assert unmet(Requirement("numpy==1.0")) == f"numpy {str(installed.specifier)[2:]}"
    assert unmet(Requirement("no-such-package==1")) == "no-such-package not installed"
