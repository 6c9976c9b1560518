"""The team's MLflow server as cluster/mlflow starts it: over PostgreSQL where that is installed, else over sqlite."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prefine_ray.cli.parser import main
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tracking.tracker import Tracker
from tests.mlflow_store import Server, Store, free_port, write_pack

SCRIPTS = Path(__file__).parents[2] / "cluster" / "mlflow"
HAS_POSTGRES = shutil.which("initdb") is not None or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
CLIENTS = 16


class Postgres:
    """A database of postgres.sh."""

    def __init__(self, folder: Path):
        self._folder, self._port = folder, free_port()
        self.uri_file = folder / "uri"

    def up(self) -> None:
        subprocess.run([str(SCRIPTS / "postgres.sh"), "up", str(self._folder), str(self._port)], check=True)

    def down(self) -> None:
        subprocess.run([str(SCRIPTS / "postgres.sh"), "down", str(self._folder)], check=True)


class TeamServer(Server):
    """A process of server.sh."""

    def __init__(self, folder: Path, uri_file: Path):
        super().__init__(folder)
        self._uri_file = uri_file

    def _command(self) -> list[str]:
        places = [str(self._uri_file), str(self._folder / "artifacts"), "127.0.0.1", str(self._port)]
        return [str(SCRIPTS / "server.sh"), *places]

    def start(self, **environment: str) -> None:
        workers = "2" if HAS_POSTGRES else "1"  # sqlite locks out a second writer
        super().start(PYTHON=sys.executable, MLFLOW_WORKERS=workers, **environment)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the database's user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="mlflow-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def postgres(folder: Path) -> Iterator[Postgres | None]:
    if not HAS_POSTGRES:
        yield None
        return
    database = Postgres(folder / "postgres")
    database.up()
    yield database
    database.down()


@pytest.fixture
def server(folder: Path, postgres: Postgres | None) -> Iterator[TeamServer]:
    uri_file = folder / "uri"
    if postgres is None:
        uri_file.write_text(f"sqlite:///{folder / 'mlflow.db'}")
    server = TeamServer(folder, uri_file if postgres is None else postgres.uri_file)
    server.start()
    yield server
    server.kill()


def cells_of(folder: ResultsDir, part: str) -> list[str]:
    return [f"{folder.root.name}-{part}-{index}" for index in range(2)]


def send(folders: list[ResultsDir], part: str, url: str) -> list[tuple[int, int]]:
    """All folders get a pack and send it, at once; cells sent and missing of each."""
    for folder in folders:
        write_pack(folder, part, cells_of(folder, part))
    with ThreadPoolExecutor(len(folders)) as pool:
        reports = list(pool.map(lambda folder: Tracker(folder, folder.root.name, url).sync(), folders))
    return [(report.logged, report.missing) for report in reports]


def sync_command(folder: ResultsDir) -> None:
    """`prefine sync`, again while a busy server leaves something out."""
    for _ in range(5):
        if main(["sync", str(folder.root)]) == 0:
            return
    raise AssertionError(f"{folder.root} could not be sent")


def test_sixteen_clients_and_a_server_that_goes_and_comes_back(
    server: TeamServer, postgres: Postgres | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [ResultsDir(tmp_path / f"sweep{index:02}") for index in range(CLIENTS)]
    for folder in folders:
        folder.write_config(f"name: {folder.root.name}\n")
    # a busy machine may let all first calls of a server that has just started run out of time
    assert any(sum(logged for logged, _ in send(folders, "p1", server.url)) > 0 for _ in range(5))
    if postgres is not None:  # the server stays, its database goes
        postgres.down()
        assert all(logged == 0 and missing >= 2 for logged, missing in send(folders[:2], "p2", server.url))
        postgres.up()
    server.kill()
    assert all(logged == 0 and missing >= 2 for logged, missing in send(folders, "p3", server.url))
    server.start()

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(sync_command, folders))
    for index, folder in enumerate(folders):
        parts = ["p1", "p2", "p3"] if postgres is not None and index < 2 else ["p1", "p3"]
        Store(server.url, folder).assert_complete([cell for part in parts for cell in cells_of(folder, part)])
