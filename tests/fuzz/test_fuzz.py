"""Seeded fuzzers: altered files are told, and nothing but a PrefineError comes out.

PREFINE_FUZZ_CASES sets the number of cases of each (CI: 300; `make fuzz`: 5,000).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefine_ray.core.errors import PrefineError
from prefine_ray.core.tables import read_table, table_bytes
from prefine_ray.data.hdf5 import check_dsrl, write_dsrl
from prefine_ray.data.labels import read_labels
from prefine_ray.experiment.config import SweepConfig, config_type, parse_assignments, parse_config
from prefine_ray.policies.files import load_policy, policy_bytes
from prefine_ray.policies.gaussian import PolicyHeader
from prefine_ray.results.heartbeat import UNREADABLE, read_state
from tests.makers import ball_run_episodes, small_policy

CASES = int(os.environ.get("PREFINE_FUZZ_CASES", "300"))
LIMIT_S = 20.0
ROWS = pd.DataFrame({"cell": ["a", "b"] * 20, "seed": range(40), "return": np.linspace(0, 1, 40)})
LABELS = b"trajectory,label\n" + b"".join(b"%d,%s\n" % (i, [b"preferred", b"0"][i % 2]) for i in range(30))
STATE = b'{"host": "a", "pid": 3, "started": 1.0, "updated": 2.0, "phase": "running", "running": []}'
CONFIG = b"""name: quick
tasks: [BallRun, CarRun]
weights: [0, 1, 5]
seeds: 3
data: {source: zoo, episodes: 20}
preferences: {num_preferred: [5, 10], label_noise: 0.1}
finetune: {steps: 10, learning_rate: 0.001}
"""


def alterations(content: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Flips, cuts, doubled and removed stretches, random bytes, zeros."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        altered = bytearray(content)
        first, size = int(rng.integers(len(altered))), int(rng.integers(1, 40))
        kind = rng.integers(6)
        if kind == 0:
            altered[first] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del altered[first:]
        elif kind == 2:
            del altered[first : first + size]
        elif kind == 3:
            altered[first:first] = altered[first : first + size]
        elif kind == 4:
            altered[first : first + size] = rng.bytes(size)
        else:
            altered[first : first + size] = bytes(size)
        yield bytes(altered)


def count_refusals(read: Callable[[Path], object], contents: Iterator[bytes], path: Path) -> tuple[int, int]:
    """(refused, accepted); anything but a PrefineError, and a call of over LIMIT_S, is a failure."""
    refused = accepted = 0
    for content in contents:
        path.write_bytes(content)
        started = time.monotonic()
        try:
            read(path)
            accepted += 1
        except PrefineError as error:
            refused += str(path) in str(error)
        assert time.monotonic() - started < LIMIT_S
    return refused, accepted


def original(name: str, folder: Path) -> bytes:
    """A whole file of one kind."""
    if name == "data":
        write_dsrl(folder / "whole.hdf5", ball_run_episodes().select([0, 1]), {"recipe": "x"})
        return (folder / "whole.hdf5").read_bytes()
    return table_bytes(ROWS) if name == "table" else policy_bytes(small_policy(), PolicyHeader("BallRun"))


def said_policy(path: Path) -> bytes:
    """What is read from a policy, as bytes."""
    policy = load_policy(path)
    return policy_bytes(policy, policy.header or PolicyHeader(""))


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "table": ("a.parquet", read_table),
    "policy": ("a.safetensors", said_policy),
}


@pytest.mark.parametrize("name", READERS)
def test_no_altered_file_is_accepted(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]):
    file, read = READERS[name]
    whole = original(name, tmp_path)
    altered = (content for content in alterations(whole, 1, CASES) if content != whole)
    refused, accepted = count_refusals(read, altered, tmp_path / file)
    with capsys.disabled():
        print(f"\nfuzz {name}: {refused} refused, {accepted} accepted")
    assert accepted == 0


def test_no_altered_data_are_accepted_that_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog):
    """Bytes that HDF5 does not use may differ; what is read may not, unless it is said."""
    whole, path = original("data", tmp_path), tmp_path / "a.hdf5"
    refused = accepted = told = 0
    expected = read_everything(tmp_path / "whole.hdf5")
    for content in alterations(whole, 2, CASES):
        path.write_bytes(content)
        caplog.clear()
        try:
            found = read_everything(path)
        except PrefineError as error:
            refused += str(path) in str(error)
            continue
        told += bool(caplog.text)
        accepted += 1
        assert found == expected or caplog.text
    with capsys.disabled():
        print(f"\nfuzz data: {refused} refused, {accepted} accepted with the same content or told ({told})")


def read_everything(path: Path) -> bytes:
    """All arrays of a data file, checked, as bytes."""
    from prefine_ray.data.hdf5 import read_dsrl

    check_dsrl(path, "BallRun")
    found = read_dsrl(path, "BallRun")
    return b"".join(
        np.ascontiguousarray(value).tobytes() for value in vars(found).values() if hasattr(value, "tobytes")
    )


TEXTS: dict[str, tuple[bytes, str, Callable[[Path], object]]] = {
    "labels": (LABELS, "a.csv", lambda path: read_labels(path, 30)),
    "labels json": (b'{"preferred": [0, 1, 2], "dispreferred": [3, 4]}', "a.json", lambda path: read_labels(path, 30)),
    "config": (CONFIG, "a.yaml", lambda path: parse_config(path.read_text(errors="replace"), path)),
}


@pytest.mark.parametrize("name", TEXTS)
def test_altered_text_is_read_or_is_one_error(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]):
    content, file, read = TEXTS[name]
    refused, accepted = count_refusals(read, alterations(content, 3, CASES), tmp_path / file)
    with capsys.disabled():
        print(f"\nfuzz {name}: {refused} refused, {accepted} read")
    assert refused > CASES // 10


def test_an_altered_state_never_raises(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    unreadable = 0
    for content in alterations(STATE, 4, CASES):
        (tmp_path / "state.json").write_bytes(content)
        state = read_state(tmp_path)
        assert state is not None
        unreadable += state.phase == UNREADABLE
        assert not state.alive
    with capsys.disabled():
        print(f"\nfuzz state: {unreadable} of {CASES} unreadable")
    assert unreadable > CASES // 3


VALUES = [
    "",
    "[]",
    "{}",
    "null",
    "-1",
    "0",
    ".nan",
    ".inf",
    "-.inf",
    "1e400",
    "true",
    "'x'",
    "[1, [2]]",
    "*a",
    "../x",
    "9" * 30,
]


def test_odd_values_of_every_key_are_one_error_or_a_config(capsys: pytest.CaptureFixture[str]):
    sections = {name: field.annotation for name, field in config_type(SweepConfig).model_fields.items()}
    keys = [*sections, *(f"{n}.{key}" for n, s in sections.items() for key in getattr(s, "model_fields", {}))]
    refused = accepted = 0
    for key in keys:
        for value in VALUES:
            try:
                parse_config("name: x", "f.yaml", parse_assignments([f"{key}={value}"]))
                accepted += 1
            except PrefineError:
                refused += 1
    with capsys.disabled():
        print(f"\nfuzz values: {refused} refused, {accepted} accepted")
    assert refused > accepted


@pytest.mark.parametrize("name", READERS)
def test_a_reader_that_does_not_look_is_caught(tmp_path: Path, name: str):
    """A planted defect: the fuzzer has to see alterations that a reader without a check lets through."""
    whole = original(name, tmp_path)
    _, accepted = count_refusals(lambda path: path.read_bytes(), alterations(whole, 1, 50), tmp_path / "a")
    assert accepted == 50


def test_a_reader_that_raises_something_else_is_caught(tmp_path: Path):
    def planted(path: Path) -> object:
        return path.read_bytes().decode()

    with pytest.raises(UnicodeDecodeError):
        count_refusals(planted, alterations(table_bytes(ROWS), 1, 50), tmp_path / "a")
