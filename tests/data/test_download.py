"""Downloads from a real web server on this machine."""

import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import pytest

from prefine_ray.data import download as dsrl
from prefine_ray.data.download import FetchError, dataset_directory, fetch
from prefine_ray.data.hdf5 import read_dsrl, write_dsrl
from prefine_ray.tasks.spec import get_task
from tests.data.test_trajectories import make_trajectories

TASK = get_task("BallRun")


class FileServer:
    """Serves one file's bytes, with the faults that a test asks for."""

    def __init__(self, content: bytes):
        self.content = content
        self.ranges = True  # answers requests for a range
        self.tells_size = True
        self.cut_after: list[int] = []  # bytes after which each of the next connections breaks
        self.requests: list[tuple[str, str | None]] = []  # path and Range of each request

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler):
                self.answer(handler)

            def log_message(handler, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/files/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.requests.append((handler.path, asked))
        if handler.path != f"/files/{TASK.dsrl_file}":
            handler.send_error(404)
            return
        size, start = len(self.content), int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.ranges else 0
        if start >= size:
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{size}")
            handler.end_headers()
            return
        handler.send_response(206 if asked and self.ranges else 200)
        if asked and self.ranges:
            handler.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if self.tells_size:
            handler.send_header("Content-Length", str(size - start))
        handler.end_headers()
        handler.wfile.write(self.content[start:][: self.cut_after.pop(0) if self.cut_after else None])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("published") / "x.hdf5"
    write_dsrl(path, make_trajectories([100] * 6, labelled=False))
    return path.read_bytes()


@pytest.fixture
def server(content):
    server = FileServer(content)
    yield server
    server.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_checked_and_named(server, tmp_path, capfd):
    path = fetch("BallRun", tmp_path / "new" / "folder", server.url)
    assert path == tmp_path / "new" / "folder" / "SafetyBallRun-v0-80-940.hdf5"
    assert path.read_bytes() == server.content
    assert len(read_dsrl(path, "BallRun")) == 6
    assert names(path.parent) == [TASK.dsrl_file]
    assert server.requests == [(f"/files/{TASK.dsrl_file}", None)]
    assert "100%" in capfd.readouterr().err


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    fetch(TASK, tmp_path, server.url)
    fetch(TASK, tmp_path, server.url)
    assert len(server.requests) == 1


def test_a_damaged_file_is_replaced(server, tmp_path, caplog):
    (tmp_path / TASK.dsrl_file).write_bytes(server.content[:1000])
    assert fetch(TASK, tmp_path, server.url).read_bytes() == server.content
    assert "fetching it again" in caplog.text


def test_a_damaged_file_stays_when_there_is_no_other(server, tmp_path):
    (tmp_path / TASK.dsrl_file).write_bytes(server.content[:1000])
    with pytest.raises(FetchError):
        fetch(TASK, tmp_path, "http://127.0.0.1:9")
    assert (tmp_path / TASK.dsrl_file).read_bytes() == server.content[:1000]


def test_a_broken_connection_is_taken_up_where_it_broke(server, tmp_path):
    server.cut_after = [5000, 700]
    assert fetch(TASK, tmp_path, server.url).read_bytes() == server.content
    assert [asked for _, asked in server.requests] == [None, "bytes=5000-", "bytes=5700-"]


def test_an_interrupted_download_is_resumed_by_the_next_call(server, tmp_path):
    server.cut_after = [5000, 0]
    with pytest.raises(FetchError, match=r"the connection ended at byte 5000 of \d+"):
        fetch(TASK, tmp_path, server.url)
    assert names(tmp_path) == [f"{TASK.dsrl_file}.part"]
    assert fetch(TASK, tmp_path, server.url).read_bytes() == server.content
    assert server.requests[-1][1] == "bytes=5000-"
    assert names(tmp_path) == [TASK.dsrl_file]


def test_a_whole_part_needs_only_its_name(server, tmp_path):
    (tmp_path / f"{TASK.dsrl_file}.part").write_bytes(server.content)
    assert fetch(TASK, tmp_path, server.url).read_bytes() == server.content
    assert [asked for _, asked in server.requests] == [f"bytes={len(server.content)}-"]


@pytest.mark.parametrize("part", [b"x" * 3000, b"x" * 10**6], ids=["shorter", "longer than the file"])
def test_a_part_of_another_file_is_thrown_away(server, tmp_path, part):
    (tmp_path / f"{TASK.dsrl_file}.part").write_bytes(part)
    assert fetch(TASK, tmp_path, server.url).read_bytes() == server.content
    assert names(tmp_path) == [TASK.dsrl_file]


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    server.ranges = False
    (tmp_path / f"{TASK.dsrl_file}.part").write_bytes(server.content[:5000])
    assert fetch(TASK, tmp_path, server.url).read_bytes() == server.content


def test_a_server_without_ranges_that_always_breaks_is_given_up(server, tmp_path):
    server.ranges = False
    server.cut_after = [5000] * 10
    with pytest.raises(FetchError, match="ended at byte 5000"):
        fetch(TASK, tmp_path, server.url)
    assert len(server.requests) == 2


def test_a_cut_that_the_server_hides_is_found_by_the_check(server, tmp_path):
    server.tells_size = False
    server.cut_after = [5000]
    with pytest.raises(FetchError, match="not a whole HDF5 file"):
        fetch(TASK, tmp_path, server.url)
    assert names(tmp_path) == []


def test_a_file_of_another_task_is_refused(server, tmp_path):
    with h5py.File(tmp_path / "y.hdf5", "w") as file:
        file["observations"] = [1.0]
    server.content = (tmp_path / "y.hdf5").read_bytes()
    with pytest.raises(FetchError, match=r"missing dataset\(s\) next_observations"):
        fetch(TASK, tmp_path / "z", server.url)
    assert names(tmp_path / "z") == []


def test_offline_the_error_says_url_and_place(tmp_path):
    with pytest.raises(FetchError) as caught:
        fetch("BallRun", tmp_path, "http://127.0.0.1:9/mirror")
    assert f"http://127.0.0.1:9/mirror/{TASK.dsrl_file}: <urlopen error" in str(caught.value)
    assert f"put it at {tmp_path / TASK.dsrl_file}" in str(caught.value)


def test_the_second_place_is_asked_when_the_first_fails(server, tmp_path, monkeypatch):
    monkeypatch.setattr(dsrl, "BASE_URLS", (server.url + "elsewhere", server.url))
    assert fetch(TASK, tmp_path).read_bytes() == server.content
    assert [path for path, _ in server.requests] == [f"/files/elsewhere/{TASK.dsrl_file}", f"/files/{TASK.dsrl_file}"]


def test_all_places_that_failed_are_named(server, tmp_path, monkeypatch):
    monkeypatch.setattr(dsrl, "BASE_URLS", (server.url + "a", server.url + "b"))
    with pytest.raises(FetchError, match=r"(?s)files/a/.*404.*files/b/.*404"):
        fetch(TASK, tmp_path)


def test_the_published_places_hold_the_file_by_its_name():
    assert [f"{base}/{TASK.dsrl_file}" for base in dsrl.BASE_URLS] == [
        "https://huggingface.co/datasets/YYY-45/DSRL/resolve/main/SafetyBallRun-v0-80-940.hdf5",
        "http://data.offline-saferl.org/download/SafetyBallRun-v0-80-940.hdf5",
    ]


def test_the_directory_is_that_of_the_dsrl_package(server, tmp_path, monkeypatch):
    monkeypatch.delenv("DSRL_DATASET_DIR", raising=False)
    assert dataset_directory() == Path(os.path.expanduser("~/.dsrl/datasets"))
    monkeypatch.setenv("DSRL_DATASET_DIR", str(tmp_path / "mine"))
    assert fetch(TASK, base_url=server.url).parent == tmp_path / "mine"
