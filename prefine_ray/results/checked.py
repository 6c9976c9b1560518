"""Which finished packs were found whole, so that `prefine status` reads only what has changed since.

DIR/cache/checked.json holds, for each pack, its policies and a text of how its files looked (size, times and inode, so
that a copy of the folder is read again). A file whose bytes rot on the disk keeps its looks: `prefine report`, `sweep`
and `sync` read everything whatever is noted here. The file may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefine_ray.core.checked_json import parse_json
from prefine_ray.core.digests import digest
from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.files import read_bytes, write_text
from prefine_ray.results.paths import ResultsPaths

_RECENT_NS = 2 * 10**9  # a file that changed so lately may change again within one tick of the file system's clock
# Size in bytes; times of the last change of the content, and of anything, in nanoseconds; number on the file system.
Looks = tuple[int, int, int, int]


class CheckedPacks:
    """The record of one results folder, and how its files look now."""

    def __init__(self, paths: ResultsPaths, kinds: Collection[str]):
        self._path = paths.checked_path
        self._parts = [_looks(paths.parts_folder / kind) for kind in kinds]
        self._conditions: dict[str, dict[str, Looks]] = {}
        for name, looks in _looks(paths.conditions_folder).items():
            self._conditions.setdefault(name.rsplit("-", 2)[0], {})[name] = looks
        self._policies = _looks(paths.policies_folder)
        self._known = self._read()
        self._has_changed = False

    def is_whole(self, pack: str) -> bool:
        """Whether all files of a pack look as they did when it was found whole."""
        noted = self._known.get(pack)
        return noted is not None and noted["looks"] == self._text(pack, noted["policies"])

    def add(self, pack: str, policies: Iterable[str]) -> None:
        """Notes that a pack was found whole, with these cells' policies."""
        names = list(policies)
        if not self._is_recent(pack, names):
            self._known[pack] = {"policies": names, "looks": self._text(pack, names)}
            self._has_changed = True

    def write(self) -> None:
        """Replaces the record; where the folder is read-only everything is read again next time."""
        if self._has_changed:
            with suppress(OSError):
                write_text(self._path, json.dumps(self._known))

    def _files(self, pack: str, policies: Iterable[str]) -> list[Looks | None]:
        own = [looks.get(f"{pack}.parquet") for looks in self._parts]
        others = [looks for _, looks in sorted(self._conditions.get(pack, {}).items())]
        return [*own, *others, *(self._policies.get(f"{cell}.safetensors") for cell in policies)]

    def _text(self, pack: str, policies: Iterable[str]) -> str:
        return digest([self._files(pack, policies), sorted(self._conditions.get(pack, {}))])

    def _is_recent(self, pack: str, policies: Iterable[str]) -> bool:
        latest = max((looks[1] for looks in self._files(pack, policies) if looks), default=0)
        return time.time_ns() - latest < _RECENT_NS

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            content = parse_json(read_bytes(self._path))
        except (DamagedFileError, ValueError):
            return {}
        return content if isinstance(content, dict) and all(map(_is_note, content.values())) else {}


def _is_note(note: object) -> bool:
    return (
        isinstance(note, dict)
        and isinstance(note.get("looks"), str)
        and isinstance(note.get("policies"), list)
        and all(isinstance(name, str) for name in note["policies"])
    )


def _looks(folder: Path) -> dict[str, Looks]:
    """How the files of a folder look, by name."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        found = {}
        for entry in entries:
            with suppress(FileNotFoundError):  # a sweep removes its temporary files meanwhile
                status = entry.stat()
                found[entry.name] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        return found
