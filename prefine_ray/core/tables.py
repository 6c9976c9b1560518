"""Tables of rows as parquet files: plain columns only, and a checksum over every byte.

A parquet file can carry more than numbers: an Arrow extension type (Ray registers one that unpickles) runs code while
it is turned into a data frame, and so may the metadata that pandas keeps. Neither is ever asked here: a file that
declares an extension type is refused before Arrow looks at its schema, every column has to be of a plain type, and
metadata is left out of the conversion.

The checksum stands in the footer under the key `prefine.sha256`: the SHA-256 of the file with the digits of the
checksum themselves taken as zeros. Other readers of parquet pass over it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.files import read_bytes, write_bytes

_DIGEST_KEY = b"prefine.sha256"
_NOTE_PREFIX = b"prefine.note."
_EMPTY = b"0" * 64  # in place of the checksum while it is computed
_DIGEST = re.compile(re.escape(_DIGEST_KEY) + rb"[^0-9a-f]{1,4}([0-9a-f]{64})")  # between them: thrift's field headers
_ARROW_SCHEMA = re.compile(rb"ARROW:schema[^A-Za-z0-9+/]{1,8}([A-Za-z0-9+/=]+)")
_MAX_BYTES = 2**33  # of one table in memory
_TYPES: dict[str, tuple[Any, ...]] = {
    "text": (pa.types.is_string, pa.types.is_large_string, pa.types.is_null),
    "number": (pa.types.is_integer, pa.types.is_floating, pa.types.is_null),
    "boolean": (pa.types.is_boolean, pa.types.is_null),
}
# The kinds of the columns that every table of rows may have; further ones (training metrics, searched settings) hold
# any plain type.
KNOWN_COLUMNS = {
    **dict.fromkeys(("cell", "method", "task", "preferred", "split", "stage", "status", "error", "log"), "text"),
    **dict.fromkeys(("selection", "counterfactuals", "draws", "commit", "physics", "cpu", "glibc"), "text"),
    **dict.fromkeys(("num_preferred", "label_noise", "threshold", "weight", "seed", "episode", "step"), "number"),
    **dict.fromkeys(("return", "cost", "length", "steps", "wall_s", "number"), "number"),
    "terminated": "boolean",
    "own_base": "boolean",
}
_log = logging.getLogger(__name__)


def write_table(path: str | Path, rows: pd.DataFrame, notes: Mapping[str, str] | None = None) -> str:
    """Writes rows atomically, with a checksum and with `notes`, which `read_notes` gives back.

    Returns:
        The checksum, 64 hexadecimal digits.

    Raises:
        pyarrow.ArrowException: a column holds objects that no plain type fits.
    """
    content = table_bytes(rows, notes)
    write_bytes(path, content)
    return _digest_in(content)[0]


def table_bytes(rows: pd.DataFrame, notes: Mapping[str, str] | None = None) -> bytes:
    """The content of the file that `write_table` writes."""
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    marks = {_NOTE_PREFIX + key.encode(): value.encode() for key, value in (notes or {}).items()}
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**marks, _DIGEST_KEY: _EMPTY})
    content = buffer.getvalue()
    before, _, after = content.rpartition(_EMPTY)
    return before + hashlib.sha256(content).hexdigest().encode() + after


def read_table(
    path: str | Path, columns: Sequence[str] | None = None, sha256: str = "", categories: bool = False
) -> pd.DataFrame:
    """Rows of a table, or only these columns of them.

    Args:
        path: the file.
        columns: all of them by default.
        sha256: the checksum that the file has to have, where it is known.
        categories: texts as categories in the order of texts, which take a tenth of the memory where they repeat.

    Raises:
        DamagedFileError: the file is missing, cut, altered, no parquet, or has other than plain columns.
    """
    with _open(path) as file:
        if sha256 and (file.metadata.metadata or {}).get(_DIGEST_KEY, b"").decode() != sha256:
            raise DamagedFileError(f"{path}: is not the table that was written here; it was replaced")
        return _frame(path, file, columns, categories)


def read_notes(path: str | Path) -> dict[str, str]:
    """The notes of a table and its checksum (as "sha256"; absent in files of old versions). Raises as `read_table`."""
    with _open(path) as file:
        found = file.metadata.metadata or {}
        notes = {
            key.removeprefix(_NOTE_PREFIX).decode(): value.decode()
            for key, value in found.items()
            if key.startswith(_NOTE_PREFIX)
        }
        return notes | ({"sha256": found[_DIGEST_KEY].decode()} if _DIGEST_KEY in found else {})


def _open(path: str | Path) -> pq.ParquetFile:
    content = read_bytes(path)
    _check_content(path, content)
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        schema = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamagedFileError(f"{path}: not a whole parquet file ({_first_line(error)})") from None
    if size > _MAX_BYTES:
        raise DamagedFileError(f"{path}: says that it unpacks to {size} bytes; at most {_MAX_BYTES} are read")
    for field in schema:
        _check_column(path, field)
    if len(set(schema.names)) < len(schema.names):
        raise DamagedFileError(f"{path}: two columns have the same name; every name may stand once")
    return file


def _frame(path: str | Path, file: pq.ParquetFile, columns: Sequence[str] | None, categories: bool) -> pd.DataFrame:
    lacking = sorted(set(columns or ()) - set(file.schema_arrow.names))
    if lacking:
        raise DamagedFileError(f"{path}: without the column(s) {', '.join(lacking)}")
    try:
        table = file.read(None if columns is None else list(columns), use_threads=False).replace_schema_metadata(None)
        frame = table.to_pandas(use_threads=False, ignore_metadata=True, strings_to_categorical=categories)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamagedFileError(f"{path}: its rows cannot be read ({_first_line(error)})") from None
    for name in frame.select_dtypes("category"):
        frame[name] = frame[name].cat.reorder_categories(sorted(frame[name].cat.categories))
    return frame


def _check_content(path: str | Path, content: bytes) -> None:
    """The checksum, and that the footer declares no extension type; both before Arrow sees the file."""
    if len(content) < 12 or content[:4] != b"PAR1" or content[-4:] != b"PAR1":
        raise DamagedFileError(
            f"{path}: {'empty' if not content else 'not a whole parquet file; it was cut or altered'}"
        )
    said, computed = _digest_in(content)
    footer = content[-8 - int.from_bytes(content[-8:-4], "little") : -8]
    if not said and b"ARROW:schema" in footer:  # which this version leaves out
        _log.warning("%s: has no checksum (an older version wrote it); its content is not verified", path)
    elif said != computed or not said:
        raise DamagedFileError(f"{path}: its content is not what was written (checksum); it was cut or altered")
    for stored in _ARROW_SCHEMA.finditer(footer):
        try:
            schema = base64.b64decode(stored[1][: len(stored[1]) // 4 * 4])
        except binascii.Error:
            raise DamagedFileError(f"{path}: its Arrow schema is not readable") from None
        if b"ARROW:extension:" in schema:
            raise DamagedFileError(
                f"{path}: has a column of an Arrow extension type, which may run code; rows are plain "
                "numbers, texts and booleans"
            )


def _digest_in(content: bytes) -> tuple[str, str]:
    """The checksum that a file holds ("" without one), and the one that its content has."""
    length = int.from_bytes(content[-8:-4], "little")
    start = max(0, len(content) - 8 - length)
    found = _DIGEST.search(content, start)
    if found is None:
        return "", ""
    hasher = hashlib.sha256(content[: found.start(1)])
    hasher.update(_EMPTY)
    hasher.update(content[found.end(1) :])
    return found[1].decode(), hasher.hexdigest()


def _check_column(path: str | Path, field: pa.Field) -> None:
    wanted = KNOWN_COLUMNS.get(field.name)
    kinds = (wanted,) if wanted else tuple(_TYPES)
    if not any(check(field.type) for kind in kinds for check in _TYPES[kind]):
        needed = f"a column of {wanted}s" if wanted else "numbers, texts or booleans"
        raise DamagedFileError(f"{path}: column {field.name!r} is of type {field.type}; {needed} is needed")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
