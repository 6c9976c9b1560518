"""Whether the simulators run, and can draw, on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from prefine_ray.core.errors import PrefineError
from prefine_ray.core.requirements import read_requirements
from prefine_ray.simulators.packages import REQUIREMENTS

_TASKS = ("BallRun", "HopperVelocity", "CarGoal1")  # what each package is needed for
_DRAWN = "HopperVelocity"  # Bullet draws without a GL library
_TIMEOUT_S = 120.0


def simulator_problems() -> Iterator[str]:
    """One line per task that cannot be simulated here, with the remedy."""
    from prefine_ray.simulators import make_env

    for task in _TASKS:
        try:
            environment = make_env(task)
            environment.reset(seed=0)
            environment.close()
        except PrefineError as error:
            yield f"{task} cannot be simulated: {error}"
        except Exception as error:  # whatever a broken installation raises
            yield f"{task} cannot be simulated: {type(error).__name__}: {error}; run: prefine install-simulators"


def rendering_problem() -> str | None:
    """Why no picture of a MuJoCo task can be drawn here; tried in a process of its own, as a GL library may crash."""
    code = (
        "import sys; from prefine_ray.simulators import make_env\n"
        f"environment = make_env({_DRAWN!r}, render_mode='rgb_array')\n"
        "environment.reset(seed=0)\n"
        "try: environment.render()\n"
        "except Exception as error: sys.exit(print(error) or 1)"
    )
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"drawing a picture takes longer than {_TIMEOUT_S:g} s"
    if done.returncode == 0:
        return None
    return done.stdout.strip() or f"drawing a picture ended with status {done.returncode}"


def install_simulators() -> None:
    """Installs the simulator packages with pip, without the pins of their own that no current stack can meet.

    Raises:
        SimulatorInstallError: pip is not there, or failed.
    """
    command = [sys.executable, "-m", "pip", "install", "--no-deps", *map(str, read_requirements(REQUIREMENTS))]
    if subprocess.run(command, check=False).returncode:
        raise SimulatorInstallError(f"could not install the simulators; the command was: {' '.join(command)}")


class SimulatorInstallError(PrefineError, RuntimeError):
    """pip could not install the simulator packages; its own output says why."""
