"""A seeded fuzzer of results folders: what was altered in any file of one is told by `status` or the report."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pandas as pd
import pytest

from prefine_ray.analysis import rows as rows_module
from prefine_ray.analysis.progress import status as status_module
from prefine_ray.analysis.progress.status import status_text
from prefine_ray.analysis.rows import load_results
from prefine_ray.core import tables
from prefine_ray.core.errors import DamagedFileError
from prefine_ray.experiment.config import dump_config, make_config
from prefine_ray.policies.files import save_policy
from prefine_ray.policies.gaussian import PolicyHeader
from prefine_ray.results import folder as folder_module
from prefine_ray.results import heartbeat as heartbeat_module
from prefine_ray.results.folder import ResultsDir
from prefine_ray.results.heartbeat import Heartbeat, RunningPack
from tests.analysis.synthetic import synthetic_curves, synthetic_episodes
from tests.fuzz.harness import CASES, Outcomes, WronglyAcceptedError, alterations, judge
from tests.makers import small_policy

CELLS = 8
PLANTED = 45  # cases in which a planted defect has to be found
FILES = (
    *("parts/*/*.parquet", "policies/*.safetensors", "cells.parquet", "episodes.parquet", "trials.parquet"),
    *("curves.parquet", "state.json"),
)  # what the program writes; config.yaml is the user's to edit


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished sweep of two packs, made without Ray."""
    root = tmp_path_factory.mktemp("whole")
    results = ResultsDir(root)
    results.write_config(dump_config(make_config(name="fuzz", tasks=["BallRun", "CarRun"], weights=[0, 5], seeds=2)))
    episodes = synthetic_episodes(tasks=("BallRun", "CarRun"), weights=(0.0, 5.0), seeds=2, with_base=False).assign(
        split="test"
    )
    episodes["cell"] = episodes["cell"].str.replace("-", "")
    identity = episodes.drop_duplicates("cell")[
        ["cell", "method", "task", "preferred", "threshold", "weight", "seed", "split"]
    ]
    trials, curves = identity.assign(status="finished", error="", steps=500, wall_s=3.0), synthetic_curves(episodes)
    for task in ("BallRun", "CarRun"):
        parts = {
            kind: frame[frame["task"] == task]
            for kind, frame in {"curves": curves, "episodes": episodes, "trials": trials}.items()
        }
        cells = list(parts["trials"]["cell"])
        for cell in cells:
            save_policy(small_policy(task), results.policy_path(cell), PolicyHeader(task))
        results.write_part(f"pack{task}", parts, policies=cells)
    results.write_grid(identity.to_dict("records"))
    results.merge(set(identity["cell"]))
    with Heartbeat(root) as heartbeat:
        heartbeat.begin(RunningPack("packCarRun", "CarRun", "prefine CarRun", 4, 1.5, 0))
    assert not look(root, root)
    return root


def look(root: Path, file: Path) -> bool:
    """Whether `status` or the report names this file as damaged; both read the folder in any case.

    Raises:
        PrefineError: as they do.
    """
    told = status_text(root) + " ".join(load_results(root).gaps)
    if file.parent.name == "trials" and not file.exists():  # its pack is not finished, and not counted
        return f"{CELLS // 2} of {CELLS} cells ended" in told
    return any(str(file) in line and "amaged" in line for line in [*told.splitlines(), told])


def cases(whole: Path, copy: Path, seed: int, count: int) -> Iterator[Path]:
    """Alters one file of the copy after the other, yields its path, and puts it back."""
    files = sorted(path for pattern in FILES for path in whole.glob(pattern))
    rng = np.random.default_rng(seed)
    for number in range(count):
        source = files[number % len(files)]
        target = copy / source.relative_to(whole)
        change = int(rng.integers(8))
        others = [path for path in files if path.suffix == source.suffix and path.read_bytes() != source.read_bytes()]
        if change == 0 and source.parent != whole:
            target.unlink()
        elif change == 1 and others and source.parent != whole:
            target.write_bytes(others[int(rng.integers(len(others)))].read_bytes())
        else:
            target.write_bytes(next(alterations(source.read_bytes(), seed + number, 1)))
        yield target
        target.write_bytes(source.read_bytes())


def fuzz_folder(whole: Path, copy: Path, count: int, seed: int = 0) -> Outcomes:
    """Alters file after file; one that is not named is wrongly accepted, spaces in the state aside."""
    shutil.copytree(whole, copy, dirs_exist_ok=True)
    state = heartbeat_module.read_state(whole)
    outcomes = Outcomes()
    for file in cases(whole, copy, seed, count):

        def read(file: Path = file) -> None:
            if not look(copy, file) and not (file.name == "state.json" and heartbeat_module.read_state(copy) == state):
                raise WronglyAcceptedError
            raise DamagedFileError(f"{file}: told")

        how = judge(read, str(file) if file.parent.name != "trials" else str(copy))
        if how != "refused":
            outcomes.examples.append(f"{how}: {file}")
        outcomes[how] += 1
    return outcomes


def test_every_altered_file_is_told(whole, tmp_path, capsys):
    outcomes = fuzz_folder(whole, tmp_path / "copy", CASES)
    outcomes.tell("results", capsys)
    assert outcomes.wrong == 0, outcomes.examples


def nothing(*_: object, **__: object) -> None:
    """In the place of a check."""


def fails(*_: object, **__: object) -> object:
    raise KeyError("cell")


def unchecked_table(
    path: Path, columns: list[str] | None = None, sha256: str = "", categories: bool = False
) -> pd.DataFrame:
    return pd.read_parquet(path, columns=columns)


DEFECTS: dict[str, tuple[object, str, Callable[..., object]]] = {
    "no checksum of tables": (tables, "_check_content", nothing),
    "checksums that always fit": (tables, "_digest_in", lambda content: ("x", "x")),
    "tables by pandas, in parts": (folder_module, "read_table", unchecked_table),
    "tables by pandas, in the report": (rows_module, "read_table", unchecked_table),
    "policies that always fit": (folder_module, "file_digest", lambda path: ""),
    "no notes of a pack": (folder_module, "read_notes", lambda path: {}),
    "a reader of notes that fails": (folder_module, "read_notes", fails),
    "no damage is looked for": (ResultsDir, "_damages_of", lambda self, name: []),
    "damage is not shown": (status_module, "damage_lines", lambda damages: []),
    "checksums of the state that always fit": (heartbeat_module, "digest", lambda content: ANY),
    "no state is read": (status_module, "read_state", nothing),
    "missing kinds do not matter": (ResultsDir, "_kinds_needed", lambda self, name, trials: []),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFECTS)
def test_planted_defects_are_caught(name, whole, tmp_path, monkeypatch):
    place, function, broken = DEFECTS[name]
    count = 5 * PLANTED if "state" in name else PLANTED  # most alterations of JSON are no JSON
    monkeypatch.setattr(place, function, broken)
    if "state" in name:
        monkeypatch.setattr(sys.modules[__name__], "FILES", ("state.json",))
    if name == "damage is not shown":  # neither here nor in the report
        monkeypatch.setattr(rows_module, "_gaps", lambda *_: iter(()))
    assert fuzz_folder(whole, tmp_path / "copy", count).wrong, name
