"""`prefine doctor`: what this machine lacks, and what to do about it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefine_ray.cli.options import Commands, add_data_directory, place
from prefine_ray.core.requirements import read_requirements, unmet

PYTHONS = ((3, 11), (3, 13))  # the first and the last that the pinned packages have wheels for
_NEEDED_BYTES = 2**30  # free space that a small sweep with its data, Ray's session and MLflow's store may take


@dataclass(frozen=True)
class Finding:
    """The outcome of a check: what was seen, or what is wrong and how to put it right."""

    text: str
    remedy: str = ""  # of what is wrong; empty where all is well

    @property
    def is_wrong(self) -> bool:
        """Whether there is something to do."""
        return bool(self.remedy)


def register(add: Commands) -> None:
    """Adds the commands."""
    parser = add("doctor", doctor, "check this machine and say how to fix what is wrong", "prefine doctor")
    parser.add_argument(
        "--results", type=place, default=Path("results"), metavar="DIR", help="folder to check (default: %(default)s)"
    )
    add_data_directory(parser)
    text = "install the simulator packages, ignoring their outdated pins"
    add("install-simulators", install_simulators, text, "prefine install-simulators")


def doctor(options: argparse.Namespace) -> int:
    """Prints the findings of all checks; 1 when something is wrong."""
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "Python": check_python,
        "packages": check_packages,
        "simulators": check_simulators,
        "rendering": check_rendering,
        "Ray": check_ray,
        "GPU": check_gpu,
        "MLflow": check_mlflow,
        "disk": lambda: check_disk(_folders(options)),
        "folders": lambda: check_folders(_folders(options)),
    }
    wrong = 0
    for name, check in checks.items():
        for finding in check():
            wrong += finding.is_wrong
            print(f"{'WRONG' if finding.is_wrong else 'ok':<6} {name:<11} {finding.text}", flush=True)
            if finding.is_wrong:
                print(f"{'':<18} -> {finding.remedy}", flush=True)
    print(f"\n{wrong} to put right" if wrong else "\nAll is well.")
    return 1 if wrong else 0


def _folders(options: argparse.Namespace) -> list[Path]:
    return [options.results, options.data_dir, Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())]


def check_python() -> Iterator[Finding]:
    """Whether the pinned packages exist for this Python."""
    shown = f"{sys.version.split()[0]} in {sys.prefix}"
    first, last = (".".join(map(str, version)) for version in PYTHONS)
    good = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]
    yield Finding(shown, "" if good else f"take Python {first} to {last}: PYTHON=python{last} make sweep")


def check_packages() -> Iterator[Finding]:
    """The installed versions against the requirements of this one."""
    from prefine_ray.simulators.packages import REQUIREMENTS as SIMULATORS

    needed = read_requirements()
    yield from _compare(needed, "python -m pip install '{}'")
    yield from _compare(read_requirements(SIMULATORS), "prefine install-simulators")


def _compare(requirements: list[Any], remedy: str) -> Iterator[Finding]:
    found = [(one, other) for one in requirements if (other := unmet(one)) is not None]
    for requirement, installed in found:
        yield Finding(f"{installed}, but this version needs {requirement}", remedy.format(_without_marker(requirement)))
    if not found:
        yield Finding(f"{', '.join(f'{one.name} {one.specifier}' for one in requirements)}".replace(" ==", " "))


def _without_marker(requirement: Any) -> str:
    return str(requirement).partition(";")[0].strip()


def check_simulators() -> Iterator[Finding]:
    """Whether a task of each simulator runs."""
    from prefine_ray.core.provenance import physics
    from prefine_ray.simulators.check import simulator_problems

    problems = list(simulator_problems())
    for problem in problems:
        what, _, remedy = problem.rpartition("; ")
        yield Finding(what, remedy)
    if not problems:
        yield Finding(f"{physics('bullet')} and {physics('safety-gymnasium')} simulate")


def check_rendering() -> Iterator[Finding]:
    """Whether pictures can be drawn."""
    from prefine_ray.simulators.check import rendering_problem

    problem = rendering_problem()
    remedy = (
        "only `prefine render` needs it: apt install libegl1 libgles2 (MUJOCO_GL=egl, the default without a display) "
        "or apt install libosmesa6 (MUJOCO_GL=osmesa)"
    )
    yield (
        Finding(problem.partition(". Install")[0], remedy)
        if problem
        else Finding("a picture of a MuJoCo task was drawn")
    )


def check_ray() -> Iterator[Finding]:
    """Whether Ray starts here."""
    from prefine_ray.core.errors import PrefineError

    try:
        from prefine_ray.orchestration.ray_trial import start_ray

        yield Finding(start_ray())
    except ImportError as error:
        yield Finding(f"cannot be imported: {error}", "see packages above")
    except PrefineError as error:
        yield Finding(str(error), "close what uses up memory or /dev/shm, end an old Ray with `ray stop`, try again")


def check_gpu() -> Iterator[Finding]:
    """Whether PyTorch uses the GPU that is there; none is needed."""
    try:
        import torch
    except ImportError as error:
        yield Finding(f"PyTorch cannot be imported: {error}", "see packages above")
        return
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
        yield Finding(f"torch {torch.__version__} uses {', '.join(sorted(names))}")
    elif not Path("/dev/nvidia0").exists():
        yield Finding(f"none, and none is needed (torch {torch.__version__})")
    elif torch.version.cuda is None:
        yield Finding(f"there is one, but torch {torch.__version__} is a build for CPUs", "TORCH=cuda make sweep")
    else:
        wanted = f"torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use the GPU that is there"
        yield Finding(wanted, "look at `nvidia-smi`; a driver for this CUDA is needed")


def check_mlflow() -> Iterator[Finding]:
    """Whether the server of MLFLOW_TRACKING_URI answers."""
    from prefine_ray.tracking.server_check import server_problem

    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        yield Finding("a file in each results folder (MLFLOW_TRACKING_URI is not set)")
        return
    problem = server_problem(uri)
    what, _, remedy = (problem or "").partition("; ")
    yield Finding(what, f"{remedy}, or unset it") if problem else Finding("the store of MLFLOW_TRACKING_URI answers")


def check_disk(folders: Iterable[Path]) -> Iterator[Finding]:
    """Whether there is room for results, data and Ray's session."""
    for folder in folders:
        free = shutil.disk_usage(_existing(folder)).free
        text = f"{free / 2**30:.1f} GB free for {folder}"
        yield Finding(
            text, "" if free >= _NEEDED_BYTES else f"make room there: a sweep takes {_NEEDED_BYTES / 2**30:g} GB"
        )


def check_folders(folders: Iterable[Path]) -> Iterator[Finding]:
    """Whether results, data and Ray's session can be written."""
    for folder in folders:
        place = _existing(folder)
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
            yield Finding(f"{folder} can be written")
        except OSError as error:
            yield Finding(
                f"{place} cannot be written ({error.strerror})",
                "give another folder: --results DIR, --data-dir DIR, or RAY_TMPDIR for Ray's session",
            )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())


def install_simulators(options: argparse.Namespace) -> None:
    """Installs what pip cannot express as requirements."""
    from prefine_ray.simulators.check import install_simulators as run

    run()
