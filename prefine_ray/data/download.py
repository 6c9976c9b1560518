"""Fetches the published DSRL data files: resumable, checked, kept where the DSRL package keeps them."""

from __future__ import annotations

import http
import http.client
import logging
import os
import re
import ssl
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path

from tqdm import tqdm

from prefine_ray.core.errors import PrefineError
from prefine_ray.data.hdf5 import TrajectoryFileError, check_dsrl, read_summary
from prefine_ray.tasks.spec import Task, get_task

BASE_URLS = (
    "https://huggingface.co/datasets/YYY-45/DSRL/resolve/main",
    "http://data.offline-saferl.org/download",
)
_TIMEOUT = 30.0  # seconds without a byte
_PIECE = 2**18  # bytes read at a time
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)

_log = logging.getLogger(__name__)


class FetchError(PrefineError, RuntimeError):
    """A data file could not be fetched; the message names each url, why, and where to put the file by hand."""


def dataset_directory() -> Path:
    """Where published files are kept: $DSRL_DATASET_DIR, or ~/.dsrl/datasets."""
    return Path(os.environ.get("DSRL_DATASET_DIR") or "~/.dsrl/datasets").expanduser()


def fetch(task: str | Task, directory: str | Path | None = None, base_url: str | None = None) -> Path:
    """The path of the task's published DSRL file, downloaded first unless it is there and valid.

    An interrupted download resumes where it stopped (from `<file>.part`). The file gets its name only
    when it has the announced size and every value in it was checked.

    Args:
        task: the task or its name.
        directory: where the file is kept, `dataset_directory()` by default.
        base_url: a mirror to take instead of the published places; the file's name is appended.

    Raises:
        FetchError: no place delivered the file.
    """
    task = get_task(task)
    if not task.dsrl_file:
        raise FetchError(f"{task.name}: DSRL publishes no data of it; name a trajectory file")
    target = Path(directory or dataset_directory()).expanduser() / task.dsrl_file
    if _is_valid(target, task):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for base in (base_url,) if base_url else BASE_URLS:
        url = f"{base.rstrip('/')}/{task.dsrl_file}"
        try:
            _fetch_from(url, target, task)
            return target
        except (*_NETWORK_ERRORS, TrajectoryFileError) as error:
            failures.append(f"  {url}: {error}")
    raise FetchError(
        f"the data of {task.name} could not be fetched:\n" + "\n".join(failures) + "\nWithout internet, get the file "
        f"elsewhere and put it at {target}, or make data of your own with `prefine data collect --task {task.name}`."
    )


def _is_valid(target: Path, task: Task) -> bool:
    if not target.exists():
        return False
    try:
        read_summary(target, task)
    except TrajectoryFileError as error:
        _log.warning("%s; fetching it again", error)
        return False
    return True


def _fetch_from(url: str, target: Path, task: Task) -> None:
    """Downloads, checks and names the file. A bad file made of two downloads' parts is downloaded once more."""
    part = target.with_name(target.name + ".part")
    resumed = _size(part) > 0
    _download(url, part)
    try:
        check_dsrl(part, task)
    except TrajectoryFileError:
        part.unlink()
        if not resumed:
            raise
        _log.warning("%s: the resumed download is damaged; fetching it from the start", part)
        return _fetch_from(url, target, task)
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, target)


def _download(url: str, part: Path) -> None:
    """Appends to `part` until it is whole; connects again as long as every connection brings something."""
    while True:
        size_before = _size(part)
        try:
            return _download_once(url, part)
        except urllib.error.HTTPError:
            raise
        except _NETWORK_ERRORS:
            if _size(part) <= size_before:
                raise


def _download_once(url: str, part: Path) -> None:
    """Appends what one connection delivers."""
    try:
        response, start, total = _connect(url, _size(part))
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if _content_range(error.headers)[1] == _size(part):
            return  # nothing was missing
        part.unlink()  # it belongs to another file
        return _download_once(url, part)
    name = part.name.removesuffix(".part")
    with (
        response,
        open(part, "ab" if start else "wb") as file,
        tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True, unit_divisor=1024) as progress,
    ):
        while piece := response.read(_PIECE):
            file.write(piece)
            progress.update(len(piece))
    if total is not None and _size(part) != total:
        raise http.client.HTTPException(f"the connection ended at byte {_size(part)} of {total}")


def _connect(url: str, start: int) -> tuple[http.client.HTTPResponse, int, int | None]:
    """Asks for the bytes from `start`; returns the response, its first byte, and the whole file's size if told."""
    headers = {"Range": f"bytes={start}-"} if start else {}
    response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        first, total = _content_range(response.headers)
        if first != start:
            response.close()
            raise http.client.HTTPException(f"asked for bytes from {start}, the server sent those from {first}")
        return response, start, total
    length = response.headers["Content-Length"]
    return response, 0, None if length is None else int(length)


def _content_range(headers: Message) -> tuple[int | None, int | None]:
    """First byte and size of the whole file, from `Content-Range: bytes 5-9/10` or `bytes */10`."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", headers.get("Content-Range", "").strip())
    first, total = match.groups() if match else (None, None)
    return None if first is None else int(first), None if total is None else int(total)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
