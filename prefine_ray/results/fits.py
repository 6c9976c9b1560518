"""The checkpoints of fits that have not ended, in DIR/ray/train/<pack>: where they lie, and whether they are whole."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from prefine_ray.core.checked_json import parse_json
from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.files import MissingFileError, file_digest, read_bytes

SNAPSHOT = "checkpoint_manager_snapshot.json"  # Ray Train's list of a fit's checkpoints
DIGESTS = "files.json"  # of a checkpoint: the digests of its other files
ERROR = "error.txt"  # the only file of the checkpoint of a fit that failed
_SETTLES_S = 0.5  # a running fit registers a checkpoint and removes the one before


def fit_folder(root: Path) -> Path:
    """Where the fits of a results folder keep their checkpoints."""
    return root / "ray" / "train"


def stored_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a fit that Ray Train would resume from.

    Raises:
        DamagedFileError: the list is not whole, or names a checkpoint that is not there.
    """
    snapshot = folder / SNAPSHOT
    if not snapshot.exists():
        return []
    try:
        results = parse_json(read_bytes(snapshot), allow_nan=True)["checkpoint_results"]
        names = [result["checkpoint_dir_name"] for result in results]
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error).removeprefix(f"{snapshot}: ")
        raise DamagedFileError(f"{snapshot}: not a whole list of checkpoints ({reason})") from None
    paths = [folder / str(name) for name in names]
    for path in paths:
        if path.parent != folder or not path.is_dir():
            raise DamagedFileError(f"{snapshot}: names {path.name!r}, which is no checkpoint in its folder")
    return paths


def check_checkpoint(folder: Path, names: Collection[str] = ()) -> None:
    """Compares the files of a checkpoint with what was written.

    Args:
        folder: the checkpoint.
        names: files that it has to have.

    Raises:
        DamagedFileError: a file was cut, altered or lost.
    """
    try:
        files = parse_json(read_bytes(folder / DIGESTS))
        wrong = [name for name in (*names, *files) if file_digest(folder / Path(name).name) != files[name]]
    except (MissingFileError, ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{folder}: not a whole checkpoint ({error})") from None
    if wrong:
        raise DamagedFileError(f"{folder / wrong[0]}: was cut or altered since the checkpoint was written")


def fit_problem(folder: Path) -> str | None:
    """What is damaged in a fit's folder; None if nothing is that stays so."""
    for attempt in range(2):
        try:
            for checkpoint in stored_checkpoints(folder):
                if not (checkpoint / ERROR).exists():
                    check_checkpoint(checkpoint)
            return None
        except DamagedFileError as error:
            problem = str(error)
            if not attempt:
                time.sleep(_SETTLES_S)
    return problem
