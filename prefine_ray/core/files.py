"""Atomic files, of which a reader sees the old content or the whole new one, never a part; and lock files."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from prefine_ray.core.errors import DamagedFileError, PrefineError

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of a file system without locks


class MissingFileError(PrefineError, FileNotFoundError):
    """A file that was asked for is not there."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; on success its file is synced and renamed to `path`.

    The file name keeps its ending, since writers choose a format by it. On an exception the temporary
    file is removed and `path` stays as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a whole file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Writes a whole UTF-8 file atomically."""
    write_bytes(path, content.encode())


def read_bytes(path: str | Path, most: int = 2**34) -> bytes:
    """A whole file's content.

    Raises:
        DamagedFileError: it is missing, no file, unreadable, or larger than `most` bytes.
    """
    try:
        size = os.stat(path).st_size
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DamagedFileError(f"{path}: is a folder or a device; a file is needed")
        if size > most:
            raise DamagedFileError(f"{path}: has {size} bytes; at most {most} are read")
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise DamagedFileError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DamagedFileError(f"{path}: cannot be read ({error.strerror})") from error


def file_digest(path: str | Path) -> str:
    """A hash of a file's content, 16 hexadecimal digits.

    Raises:
        MissingFileError: there is no such file.
    """
    hasher = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(2**20):
                hasher.update(block)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such file") from error
    return hasher.hexdigest()[:16]


@contextmanager
def locked(path: str | Path, *, wait: bool = True) -> Iterator[None]:
    """Holds the lock of a file, which other processes wait for; its folder must exist.

    A file system without locks is used without: nobody else is kept out there.

    Raises:
        filelock.Timeout: somebody else holds it, and `wait` is false.
    """
    lock = FileLock(path, blocking=wait, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()
