"""What MLflow has already got of a results folder: a file in the folder that saves asking the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from prefine_ray.core.checked_json import parse_json
from prefine_ray.core.files import locked, read_bytes, write_text

_MAX_BYTES = 2**26  # of the record


@dataclass
class Sent:
    """What one MLflow store has got."""

    parent: str = ""  # run id
    config: str = ""  # digest of the configuration's text
    status: str = ""
    parts: dict[str, str] = field(default_factory=dict)  # by name: the version of the part's `trials` file


@dataclass
class SentRecord:
    """What each store has got; when it is lost, the server's tags decide."""

    status: str = ""  # of the sweep
    stores: dict[str, Sent] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether everything in it is text, as it was written."""
        texts: list[object] = [self.status]
        for sent in self.stores.values():
            if not isinstance(sent.parts, dict):
                return False
            texts += [sent.parent, sent.config, sent.status, *sent.parts.values()]
        return all(isinstance(text, str) for text in texts)


class SentFile:
    """The file of a `SentRecord`."""

    def __init__(self, folder: Path):
        self._folder = folder
        self.path = folder / "sent.json"

    @contextmanager
    def exclusive(self) -> Iterator[SentRecord]:
        """The record, while no other process (`prefine sync` beside a sweep) sends from this folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(self._folder / "lock"):
            yield self.read()

    def read(self) -> SentRecord:
        """The record; an empty one where the file is missing or damaged."""
        try:
            content = parse_json(read_bytes(self.path, _MAX_BYTES))
            record = SentRecord(content["status"], {key: Sent(**sent) for key, sent in content["stores"].items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            return SentRecord()
        return record if record.is_plain else SentRecord()

    def write(self, record: SentRecord) -> None:
        """Replaces the record."""
        write_text(self.path, json.dumps(asdict(record), indent=1))
