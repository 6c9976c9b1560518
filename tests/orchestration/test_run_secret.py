"""A password in MLflow's address stands nowhere: no log, result, file of Ray's, process title or store has it."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from tests.faults.processes import title, tree
from tests.mlflow_store import free_port
from tests.small_sweep import CONFIG, finish
from tests.tracking.test_tracker import Server

PASSWORD = "s3cr3t-pass@word/99xyz"
NEEDLES = [
    *(PASSWORD, "s3cr3t-pass", "99xyz", "s3cr3t-pass%40word%2F99xyz"),
    base64.b64encode(f"user:{PASSWORD}".encode()).decode(),
]
TINY = {**CONFIG, "tasks": ["BallRun"], "methods": ["prefine"], "weights": [5], "seeds": 1, "tuning_seeds": 0}


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A short path, since Ray makes sockets below it."""
    folder = Path(tempfile.mkdtemp(prefix="rs"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Watched:
    """Runs a command and keeps what the process list shows of it and of its children."""

    def __init__(self, folder: Path, variables: dict[str, str]):
        self._folder, self._variables = folder, variables
        self.titles: set[str] = set()

    def run(self, *words: str, status: int = 0) -> str:
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | self._variables
        command = [sys.executable, "-m", "prefine_ray", *words]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.Popen(command, cwd=self._folder, env=environment, **output)
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(process.pid, ended))
        watcher.start()
        try:
            return finish(process, status)
        finally:
            ended.set()
            watcher.join()

    def _watch(self, pid: int, ended: threading.Event) -> None:
        while not ended.wait(0.5):
            self.titles |= {title(child) for child in tree(pid)}


def holding(folder: Path) -> list[str]:
    """The files below a folder that hold the password in any form, with the form."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    contents = {path: path.read_bytes() for path in files}
    assert any(contents.values())
    return [f"{path}: {needle}" for path, text in contents.items() for needle in NEEDLES if needle.encode() in text]


@pytest.mark.ray
def test_a_planted_password_is_found_nowhere(tmp_path: Path, ray_folder: Path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(TINY))
    (tmp_path / "server").mkdir()
    MlflowClient(f"sqlite:///{tmp_path / 'server' / 'server.db'}").search_experiments()  # makes it
    server = Server(tmp_path / "server")
    address = server.url.removeprefix("http://")
    dead, token = f"127.0.0.1:{free_port()}", "token=99xyz99xyz"
    variables = {"RAY_TMPDIR": str(ray_folder)}
    shown, titles = "", set()
    places = ["--results", "results", "--data-dir", "data"]
    steps = [
        (dead, ["sweep", "config.yaml", *places], 0),  # nobody answers: warnings
        (dead, ["sync", "results"], 1),
        (address, ["sync", "results"], 0),
        (address, ["report", "results"], 0),
        (address, ["ui", "results"], 0),
    ]
    try:
        server.start()
        for place, words, status in steps:
            variables["MLFLOW_TRACKING_URI"] = f"http://user:{PASSWORD}@{place}" + (
                f"/?{token}" if place == dead else ""
            )
            watched = Watched(tmp_path, variables)
            shown += watched.run(*words, status=status)
            titles |= watched.titles
    finally:
        server.kill()
    assert any("ray" in line for line in titles)
    assert "MLflow at http://127.0.0.1" in shown
    assert [needle for needle in NEEDLES for text in (shown, *titles) if needle in text] == []
    assert [found for folder in (tmp_path, ray_folder) for found in holding(folder)] == []
