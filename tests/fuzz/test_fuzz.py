"""Seeded fuzzers of single files: what was altered is told, and nothing but a PrefineError comes out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefine_ray.core import tables
from prefine_ray.core.errors import PrefineError
from prefine_ray.core.settings import odd_numbers
from prefine_ray.core.tables import read_table, table_bytes
from prefine_ray.data import hdf5
from prefine_ray.data.hdf5 import check_dsrl, read_dsrl, write_dsrl
from prefine_ray.data.labels import read_labels
from prefine_ray.experiment import config as config_module
from prefine_ray.experiment.config import (
    SweepConfig,
    config_type,
    dump_config,
    parse_assignments,
    parse_config,
)
from prefine_ray.policies import files as policy_files
from prefine_ray.policies.files import load_policy, policy_bytes
from prefine_ray.policies.gaussian import PolicyHeader
from prefine_ray.results.heartbeat import UNREADABLE, Heartbeat, RunningPack, read_state
from tests.fuzz.harness import (
    CASES,
    Outcomes,
    WronglyAcceptedError,
    alterations,
    fuzz_file,
    judge,
    uncaught,
)
from tests.makers import ball_run_episodes, small_policy

PLANTED = 40  # cases in which a planted defect has to be found
ROWS = pd.DataFrame({"cell": ["a", "b"] * 20, "seed": range(40), "return": np.linspace(0, 1, 40)})
LABELS = b"trajectory,label\n" + b"".join(b"%d,%s\n" % (i, [b"preferred", b"0"][i % 2]) for i in range(30))
LABELS_JSON = b'{"preferred": [0, 1, 2, 3, 4, 5], "dispreferred": [6, 7, 28, 29]}'
CONFIG = b"""name: quick
tasks: [BallRun, CarRun]
weights: [0, 1, 5]
seeds: 3
base: bases/{task}.safetensors
data: {source: zoo, episodes: 20}
preferences: {num_preferred: [5, 10], label_noise: 0.1}
finetune: {steps: 10, learning_rate: 0.001}
task_settings: {CarRun: {thresholds: [10, 20], finetune: {beta: 0.2}}}
"""


def altered_table(path: Path) -> None:
    read_table(path)
    raise WronglyAcceptedError


def altered_policy(path: Path) -> None:
    load_policy(path)
    raise WronglyAcceptedError


def checked_labels(path: Path) -> None:
    """Reads labels; whatever was altered, they have to be usable."""
    sets = read_labels(path, 30)
    sides = (sets.preferred.tolist(), sets.dispreferred.tolist())
    numbers = [*sides[0], *sides[1]]
    good = all(sides) and all(side == sorted(side) for side in sides)
    if not (good and len(set(numbers)) == len(numbers) and all(0 <= number < 30 for number in numbers)):
        raise WronglyAcceptedError


def check_config(config: SweepConfig) -> None:
    """Whatever was altered, a configuration that is accepted can be run, and kept."""
    try:
        kept = dump_config(config)
        again = dump_config(parse_config(kept, "kept"))
    except PrefineError:
        raise WronglyAcceptedError from None
    values = (*config.seeds, *config.tuning_seeds, config.seed)
    steps = [config.settings(name).steps for name in config.methods]
    amounts = [*config.axis_values("weight", config.tasks[0]), *config.axis_values("threshold", config.tasks[0])]
    good = (
        not list(odd_numbers(config.model_dump()))
        and again == kept
        and config.tasks
        and config.seeds
        and min(values) >= 0
        and min(steps) >= 1
        and all(0 <= amount < math.inf for amount in amounts)
        and "/" not in config.name
        and config.name not in (".", "..")
        and (config.base in ("zoo", "clone", "bc_all") or config.base.startswith("/"))
        and (config.data.source in ("zoo", "dsrl") or config.data.source.startswith("/"))
    )
    if not good:
        raise WronglyAcceptedError


def checked_config(path: Path) -> None:
    check_config(parse_config(path.read_text(errors="replace"), path))


class Data:
    """Reads a data file; bytes that HDF5 does not use may differ, what is read may not unless it is said."""

    def __init__(self, whole: Path, caplog: pytest.LogCaptureFixture):
        self._caplog = caplog
        self._expected = self._everything(whole)

    def __call__(self, path: Path) -> None:
        self._caplog.clear()
        if self._everything(path) != self._expected and not self._caplog.text:
            raise WronglyAcceptedError

    def _everything(self, path: Path) -> bytes:
        check_dsrl(path, "BallRun")
        arrays = [value for value in vars(read_dsrl(path, "BallRun")).values() if isinstance(value, np.ndarray)]
        return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


class State:
    """Reads a state, which never raises; one that was altered says so. Spaces between its values may differ."""

    def __init__(self, folder: Path):
        self._expected = read_state(folder)

    def __call__(self, path: Path) -> None:
        state = read_state(path.parent)
        assert state is not None
        if state.phase == UNREADABLE:
            raise PrefineError(state.problem)
        if state != self._expected:
            raise WronglyAcceptedError


def whole_state(folder: Path) -> bytes:
    with Heartbeat(folder) as heartbeat:
        heartbeat.begin(RunningPack("p", "BallRun", "prefine BallRun", 4, 1.5, 0))
        heartbeat._write()
        return (folder / "state.json").read_bytes()


@pytest.fixture(params=["table", "policy", "data", "state", "labels", "labels json", "config"])
def fuzzer(request, tmp_path: Path, caplog) -> tuple[str, bytes, object, Path]:
    """The name of a fuzzer, a whole file of its kind, how it is read, and where."""
    if request.param == "data":
        write_dsrl(tmp_path / "whole.hdf5", ball_run_episodes().select([0, 1]), {"recipe": "x"})
        whole = tmp_path / "whole.hdf5"
        return request.param, whole.read_bytes(), Data(whole, caplog), tmp_path / "a.hdf5"
    if request.param == "state":
        content = whole_state(tmp_path)
        (tmp_path / "state.json").write_bytes(content)
        return request.param, content, State(tmp_path), tmp_path / "state.json"
    content, read, name = {
        "table": (lambda: table_bytes(ROWS), altered_table, "a.parquet"),
        "policy": (lambda: policy_bytes(small_policy(), PolicyHeader("BallRun")), altered_policy, "a.safetensors"),
        "labels": (lambda: LABELS, checked_labels, "a.csv"),
        "labels json": (lambda: LABELS_JSON, checked_labels, "a.json"),
        "config": (lambda: CONFIG, checked_config, "a.yaml"),
    }[request.param]
    return request.param, content(), read, tmp_path / name


def test_what_was_altered_is_told(fuzzer, capsys):
    name, content, read, path = fuzzer
    outcomes = fuzz_file(read, alterations(content, 1, CASES), path)
    outcomes.tell(name, capsys)
    assert outcomes.wrong == 0
    assert outcomes["refused"] > CASES // 10


def test_ten_planted_defects_are_caught(fuzzer):
    _, content, read, path = fuzzer
    assert uncaught(read, alterations(content, 1, PLANTED), path) == []


def nothing(*_: object, **__: object) -> None:
    """In the place of a check."""


def from_the_middle(content: bytes) -> Iterator[bytes]:
    """Single bits, where only a checksum sees them."""
    for place in range(2 * len(content), 4 * len(content), max(1, len(content) // 20)):
        altered = bytearray(content)
        altered[place // 8] ^= 1 << place % 8
        yield bytes(altered)


def test_a_check_that_is_taken_out_is_missed(tmp_path, caplog, monkeypatch):
    """The real checks are needed: without any of these the fuzzers see a defect."""
    write_dsrl(tmp_path / "whole.hdf5", ball_run_episodes().select([0, 1]), {"recipe": "x"})
    policy = policy_bytes(small_policy(), PolicyHeader("BallRun"))
    data = Data(tmp_path / "whole.hdf5", caplog)
    cases = [
        (tables, "_digest_in", lambda content: ("x", "x"), altered_table, table_bytes(ROWS), "a.parquet"),
        (policy_files, "_check_digest", nothing, altered_policy, policy, "a.safetensors"),
        (hdf5, "_open_hdf5", hdf5.h5py.File, data, (tmp_path / "whole.hdf5").read_bytes(), "a.hdf5"),
    ]
    for module, name, broken, read, content, file in cases:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, broken)
            contents = [*from_the_middle(content), *alterations(content, 1, 20)]
            assert fuzz_file(read, contents, tmp_path / file).wrong, name


VALUES = [
    *("", "[]", "{}", "null", "-1", "0", ".nan", ".inf", "-.inf", "1e400", "true", "'x'", "[1, [2]]", "*a", "../x"),
    *("9" * 30, "'{tsk}'", "$NO_SUCH_VARIABLE", "' '", "{a: 1, a: 2}", "[.nan]", "[-1]", "1.5", "2000-01-01"),
]


def fuzz_values(values: Sequence[str] = VALUES) -> Outcomes:
    """Odd values of every key, as an option would set them."""
    sections = {name: field.annotation for name, field in config_type(SweepConfig).model_fields.items()}
    keys = [*sections, *(f"{n}.{key}" for n, s in sections.items() for key in getattr(s, "model_fields", {}))]
    outcomes = Outcomes()
    for key in keys:
        for value in values:
            outcomes[judge(lambda k=key, v=value: _set_one(k, v))] += 1
    return outcomes


def _set_one(key: str, value: str) -> None:
    check_config(config_module.parse_config("name: x", "f.yaml", parse_assignments([f"{key}={value}"])))


def test_odd_values_of_every_key_are_one_error_or_a_config(capsys):
    outcomes = fuzz_values()
    outcomes.tell("values", capsys)
    assert outcomes.wrong == 0
    assert outcomes["refused"] > outcomes["accepted"]


def _changed(**values: object):
    """A parser that gives a configuration with other values, as if a check did not look."""
    return lambda *args, **options: parse_config(*args, **options).model_copy(update=values)


DEFECTS = {
    "seeds below zero": ("parse_config", _changed(seeds=(-1,))),
    "no seeds": ("parse_config", _changed(seeds=())),
    "no tasks": ("parse_config", _changed(tasks=())),
    "a name that is a path": ("parse_config", _changed(name="../x")),
    "a relative base": ("parse_config", _changed(base="x/{task}")),
    "weights that are no numbers": ("parse_config", _changed(weights=(0.0, math.nan))),
    "a seed that is infinite": ("parse_config", _changed(seed=math.inf)),
    "paths as they are written": ("absolute_template", lambda text: text),
    "messages that fail": ("explain", lambda *_: {}["x"]),
    "a task that is checked late": ("get_task", lambda name: {}[name]),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_ten_planted_defects_of_values_are_caught(name, monkeypatch):
    function, broken = DEFECTS[name]
    monkeypatch.setattr(config_module, function, broken)
    assert fuzz_values(["'x'", "-1"]).wrong, name
