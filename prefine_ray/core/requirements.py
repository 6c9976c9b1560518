"""The packages that this version needs: requirements.txt, which comes with the package, against what is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def read_requirements(path: Path = REQUIREMENTS) -> list[Requirement]:
    """The lines of a requirements file that apply to this Python and machine."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    requirements = [Requirement(line) for line in lines if line]
    return [one for one in requirements if one.marker is None or one.marker.evaluate()]


def unmet(requirement: Requirement) -> str | None:
    """What is installed instead of a requirement ("mujoco 2.3.7", "mujoco not installed"); None where it is met."""
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} not installed"
    return None if requirement.specifier.contains(installed, prereleases=True) else f"{requirement.name} {installed}"
