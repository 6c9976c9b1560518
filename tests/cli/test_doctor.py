"""`prefine doctor` names what is wrong with a machine on which it was planted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefine_ray.cli.doctor import check_disk, check_folders, check_mlflow, check_packages, check_python
from tests.faults.nodes import free_port
from tests.faults.test_faults import fill

ROOT = Path(__file__).parents[2]


def installed_packages(folder: Path) -> Path:
    """All installed packages but bullet-safety-gym, and a mujoco that says that it is another version."""
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(("bullet_safety_gym", "mujoco-")):
            (folder / path.name).symlink_to(path)
    info = folder / "mujoco-2.2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mujoco\nVersion: 2.2.0\n")
    return folder


@pytest.fixture
def full_disk(mounting: None, tmp_path: Path) -> Iterator[Path]:
    """A file system with no room left."""
    folder = tmp_path / "full"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    fill(folder)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def run_doctor(*arguments: str, packages: Path, **environment: str) -> subprocess.CompletedProcess:
    """In a process that finds these packages and no others."""
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{packages}", "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    command = [sys.executable, "-S", "-m", "prefine_ray", "doctor", *arguments]
    return subprocess.run(
        command, env=os.environ | paths | environment, capture_output=True, text=True, check=False, timeout=500
    )


def test_everything_that_is_wrong_is_named_with_a_remedy(full_disk: Path, tmp_path: Path) -> None:
    """No Bullet, another mujoco, no display for glfw, a full disk, and no server at MLflow's address."""
    packages = tmp_path / "packages"
    packages.mkdir()
    uri = f"http://127.0.0.1:{free_port()}"
    done = run_doctor(
        "--results",
        str(full_disk / "results"),
        packages=installed_packages(packages),
        MUJOCO_GL="glfw",
        MLFLOW_TRACKING_URI=uri,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout
    lines = done.stdout.splitlines()
    wrong = {line: lines[number + 1] for number, line in enumerate(lines) if line.startswith("WRONG")}

    def remedy(check: str, text: str) -> str:
        return next(after for line, after in wrong.items() if line.split()[1] == check and text in line)

    assert "install-simulators" in remedy("packages", "bullet-safety-gym not installed")
    assert "pip install 'mujoco==" in remedy("packages", "mujoco 2.2.0, but this version needs mujoco==")
    assert "install-simulators" in remedy("simulators", "BallRun cannot be simulated")
    assert "libegl1" in remedy("rendering", "MUJOCO_GL=glfw")
    assert "make room there" in remedy("disk", str(full_disk))
    assert "MLFLOW_TRACKING_URI" in remedy("MLflow", uri)
    assert {line.split()[1] for line in wrong} == {"packages", "simulators", "rendering", "disk", "MLflow"}
    assert any(line.startswith("ok     Ray") for line in lines)


def test_a_machine_on_which_all_is_well_has_nothing_to_put_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    findings = [*check_python(), *check_packages(), *check_mlflow(), *check_folders([tmp_path / "new" / "folder"])]
    assert len(findings) >= 5
    assert [finding for finding in findings if finding.is_wrong] == []


def test_free_space_is_told_for_each_folder(tmp_path: Path) -> None:
    findings = list(check_disk([tmp_path / "a", tmp_path / "b"]))
    free = f"{shutil.disk_usage(tmp_path).free / 2**30:.0f}"
    assert [finding.text.rpartition(" for ")[2] for finding in findings] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert all(abs(float(finding.text.split()[0]) - float(free)) < 2 for finding in findings)
