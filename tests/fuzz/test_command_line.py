"""A seeded fuzzer of command lines: a bad word is refused in one message before any work begins.

Each option has good and bad words. A line with a bad one must not be accepted; no line may end in a traceback. Where
the work would begin (Ray, a simulator, a training, a server, a download) the fuzzer stops it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from prefine_ray import simulators
from prefine_ray.cli import finetune, labels, parser, policies, results, sweeps
from prefine_ray.core import paths
from prefine_ray.core.errors import PrefineError
from prefine_ray.data import download, hdf5
from prefine_ray.data.hdf5 import write_dsrl
from prefine_ray.data.trajectories import STEP_DATASETS
from prefine_ray.experiment import config, shipped
from prefine_ray.methods import base
from prefine_ray.orchestration import cluster
from prefine_ray.policies import files
from prefine_ray.policies.files import save_policy
from prefine_ray.policies.gaussian import PolicyHeader
from prefine_ray.pretrain import training
from prefine_ray.rollouts import video
from prefine_ray.tasks import spec
from prefine_ray.tracking import mlflow_ui
from tests.fuzz.harness import CASES, Outcomes, WronglyAcceptedError, judge
from tests.makers import ball_run_episodes, small_policy

PLANTED = 800  # cases in which a planted defect has to be found


class StartedError(Exception):
    """The work would begin here."""


def _begin(*_: object, **__: object) -> None:
    raise StartedError


@dataclass
class Words:
    """The values of an option; None stands for the option left out."""

    good: list[str]
    bad: list[str]
    needed: bool = False


@dataclass
class Command:
    """A command, its places and its options by name."""

    words: list[str]
    places: list[Words] = field(default_factory=list)
    options: dict[str, Words] = field(default_factory=dict)


BAD_COUNTS = ["0", "-1", "1.5", "nan", "", "9" * 30, "1e3", "x"]
BAD_AMOUNTS = ["nan", "inf", "-inf", "-1", "", "1e999", "x"]
BAD_SEEDS = ["-1", "0.5", "", "9" * 30, "x"]
BAD_PLACES = ["", " ", "$NO_SUCH_VARIABLE/x", "~no-such-user/x", "a\0b"]
COUNTS, AMOUNTS, SEEDS = Words(["1", "7"], BAD_COUNTS), Words(["5", "0.5"], BAD_AMOUNTS), Words(["0", "7"], BAD_SEEDS)
TASK = Words(["BallRun"], ["", "BalRun", "../BallRun", "BallRun\n", "é", "{task}"], needed=True)
CONFIGS = ["nope", "", "../../etc/passwd", "/", "a\0b"]
SETS = Words(
    ["finetune.steps=5", "weights=[0,5]"],
    [
        *("x", "=3", "finetune.steps=0", "finetune.steps=", "finetune.stepss=3", "name=../x", "seeds=[]", "seeds=.nan"),
        *("weights=[.inf]", "weights=[-1]", "tasks=[[1]]", "data=3", "data.source='{tsk}'", "a=*b", "finetune={"),
        *("finetune={a: 1, a: 2}", "base=$NO_SUCH_VARIABLE", "evaluation.episodes=-1", "finetune.learning_rate=1e999"),
    ],
)
OF_SEARCH = Words(SETS.good, [word for word in SETS.bad if word != "seeds=[]"])  # a search has none anyway


def commands(folder: Path) -> list[Command]:
    """Every command, with files of `folder` as places."""
    write_dsrl(folder / "good.hdf5", ball_run_episodes())
    save_policy(small_policy(), folder / "good.safetensors", PolicyHeader("BallRun"))
    save_policy(small_policy("CarRun"), folder / "other.safetensors", PolicyHeader("CarRun"))
    flipped = bytearray((folder / "good.safetensors").read_bytes())
    flipped[-9] ^= 1
    (folder / "flipped.safetensors").write_bytes(flipped)
    (folder / "text").write_text("neither data nor policy")
    (folder / "bad.yaml").write_text("name: x\nname: y\n")
    (folder / "good.yaml").write_text("name: good\ntasks: [BallRun]\nfinetune: {steps: 5}\n")
    negative = ball_run_episodes().costs - 1
    write_dsrl(folder / "negative.hdf5", ball_run_episodes())
    with hdf5.h5py.File(folder / "negative.hdf5", "r+") as file:
        file["costs"][...] = negative
    (folder / "empty").mkdir()
    (folder / "shown" / "mlflow").mkdir(parents=True)
    (folder / "shown" / "mlflow" / "mlflow.db").touch()
    np.savez(folder / "good.npz", **{name: getattr(ball_run_episodes(), name) for name in STEP_DATASETS})
    np.savez(folder / "cut.npz", observations=np.zeros((3, 7)), actions=np.zeros((2, 2)))
    layers = {"0": (16, 7), "2": (2, 16)}
    state = {f"actor_mean.{number}.weight": torch.ones(shape) for number, shape in layers.items()}
    state |= {f"actor_mean.{number}.bias": torch.ones(shape[0]) for number, shape in layers.items()}
    torch.save({**state, "actor_logstd": torch.zeros(1, 2)}, folder / "good.pth")
    torch.save(
        {**state, "actor_logstd": torch.zeros(1, 2), "actor_mean.0.weight": torch.ones(16, 9)}, folder / "odd.pth"
    )

    def of(*names: str) -> list[str]:
        return [str(folder / name) for name in names]

    missing = of("missing", "text", "empty")
    policy = Words(of("good.safetensors"), [*missing, *of("other.safetensors", "flipped.safetensors"), ""], needed=True)
    data = Words(of("good.hdf5"), [*missing, *of("negative.hdf5"), *BAD_PLACES], needed=True)
    output, made = Words(of("out"), BAD_PLACES), Words(of("made.csv"), BAD_PLACES, needed=True)
    (folder / "pairs.csv").write_text("better,worse\n0,1\n2,1\n")
    (folder / "export.json").write_text("[]")
    choice = Words([*of("good.yaml"), "quick"], [*of("bad.yaml", "text"), *CONFIGS])
    run = {"--results": output, "--data-dir": output, "--set": SETS}
    report = Words([], [*missing, *BAD_PLACES])
    whole = {"--experiment-seed": SEEDS, "--seed": SEEDS}
    return [
        Command(["evaluate"], options={"--task": TASK, "--policy": policy, "--episodes": COUNTS, **whole}),
        Command(
            ["render"],
            options={
                **{"--task": TASK, "--policy": policy, "--steps": COUNTS, "--threshold": AMOUNTS, "--seed": SEEDS},
                "--output": Words(of("x.gif"), BAD_PLACES, needed=True),
            },
        ),
        Command(
            ["finetune", "--local"],
            options={
                **{"--task": TASK, "--data": data, "--weight": AMOUNTS, "--threshold": AMOUNTS, "--seeds": SEEDS},
                **{"--output": output, "--config": choice, "--labels": Words([], [*missing, "{tsk}"])},
                "--method": Words(["prefine", "prefine_pairs"], ["", "nope", "PREFINE"]),
            },
        ),
        Command(
            ["clone"],
            options={"--task": TASK, "--data": data, "--seed": SEEDS, "--output": Words(of("c"), BAD_PLACES, True)},
        ),
        Command(["pretrain"], options={"--task": TASK, "--steps": COUNTS, "--seed": SEEDS, "--output": output}),
        Command(["sweep"], [choice], {**run, "--tasks": Words(["BallRun"], ["", "Nope"]), "--actors": COUNTS}),
        Command(["search"], [Words(["search"], CONFIGS)], {**run, "--set": OF_SEARCH, "--trials": COUNTS}),
        Command(
            ["data", "collect"],
            options={
                **{"--task": TASK, "--episodes": COUNTS, "--seed": SEEDS, "--actors": COUNTS, "--data-dir": output},
                "--behaviours": Words(["zoo"], ["{tsk}", "", "$NO_SUCH_VARIABLE"]),
            },
        ),
        Command(["data", "describe"], options={"--task": TASK, "--file": data}),
        Command(["data", "fetch"], options={"--task": TASK, "--directory": Words(of("d"), BAD_PLACES)}),
        Command(
            ["data", "convert"],
            [Words(of("good.npz"), [*missing, *of("cut.npz"), *BAD_PLACES])],
            {
                "--task": TASK,
                "--output": Words(of("c.hdf5"), BAD_PLACES, True),
                "--from": Words(["npz"], ["minari", ""]),
            },
        ),
        Command(
            ["import"],
            [Words(of("good.pth"), [*missing, *of("odd.pth", "good.npz"), *BAD_PLACES])],
            {
                **{"--task": TASK, "--output": Words(of("i.safetensors"), BAD_PLACES, True)},
                **{"--from": Words(["cleanrl"], ["sb3", "onnx", "torchscript", "omnisafe", "rllib", "nope"])},
                "--normalizer": Words([], [*missing, *of("cut.npz")]),
            },
        ),
        Command(
            ["export", "--to=torchscript"],
            [Words(of("good.safetensors"), [*missing, *of("flipped.safetensors"), *BAD_PLACES])],
            {"--output": Words(of("x.pt"), [*BAD_PLACES, *of("x")], True)},
        ),
        Command(["configs", "check"], [choice]),
        Command(["configs", "show"], [Words(of("good.yaml"), CONFIGS)]),
        *(Command([name], [report]) for name in ("status", "report", "sync")),
        Command(
            ["label", "--pairs"],
            [data],
            {
                **{"--task": TASK, "--output": output, "--questions": COUNTS, "--seed": SEEDS, "--frames": COUNTS},
                **{"--threshold": AMOUNTS, "--repeats": Words(["0", "0.5"], ["0.6", "nan", "-1", "", "x"])},
                **{"--port": Words(["0"], ["-1", "70000", "x", ""]), "--videos": Words([], missing)},
            },
        ),
        *(
            Command(["labels", name], [Words(of(good), missing, True), data], {"--task": TASK, "--output": made})
            for name, good in (("sets", "pairs.csv"), ("import", "export.json"))
        ),
        Command(["labels", "report"], [report]),
        Command(["ui"], [Words(of("shown"), report.bad)], {"--port": Words(["5000"], ["0", "-1", "70000", "x", ""])}),
        Command(["tasks", "list"]),
        Command(["configs", "list"]),
    ]


def lines(listed: list[Command], seed: int, count: int) -> Iterator[tuple[list[str], bool]]:
    """Command lines, and whether a bad word stands in them; at most two do."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        command = listed[number % len(listed)]
        slots = [(None, words) for words in command.places] + list(command.options.items())
        spoiled = set(rng.choice(len(slots), min(len(slots), int(rng.integers(3))), replace=False)) if slots else set()
        line, bad = list(command.words), False
        for place, (name, words) in enumerate(slots):
            pool = words.bad if place in spoiled or not words.good else words.good
            if not (place in spoiled or words.needed or name is None or rng.random() < 0.5) or not pool:
                continue
            bad |= pool is words.bad
            word = pool[int(rng.integers(len(pool)))]
            line += [word] if name is None else [f"{name}={word}"]
        extra = rng.random()
        if extra < 0.05:
            line, bad = [*line, "--no-such-option"], True
        elif extra < 0.1:
            line, bad = ["nope", *line], True
        yield line, bad


def run_line(line: list[str], bad: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs one line; refused is a usage message, or one error, with status 2.

    Raises:
        PrefineError: it was refused as it should be.
        WronglyAcceptedError: a bad line was not.
    """
    try:
        status = parser.main(line)
    except StartedError:
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err + shown.out
    if status == 2:
        assert "error: " in shown.err
        raise PrefineError("refused")
    if bad:
        raise WronglyAcceptedError(line)


@contextmanager
def stopped(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that a line asks for is really done."""
    with patch.context() as inner:
        inner.setattr(cluster, "connect", _begin)
        inner.setattr(simulators, "VectorStepper", _begin)
        inner.setattr(training, "pretrain", _begin)
        inner.setattr(video, "render_episode", _begin)
        inner.setattr(base, "clone", _begin)
        inner.setattr(finetune, "_train_here", _begin)
        inner.setattr(download, "fetch", _begin)
        inner.setattr(mlflow_ui, "_check_port", _begin)
        inner.setattr(labels, "_serve", _begin)
        yield


def fuzz_lines(listed: list[Command], count: int, capsys, patch: pytest.MonkeyPatch, seed: int = 0) -> Outcomes:
    """Runs `count` lines."""
    outcomes = Outcomes()
    with stopped(patch):
        for line, bad in lines(listed, seed, count):
            how = judge(lambda line=line, bad=bad: run_line(line, bad, capsys))
            if how not in ("accepted", "refused"):
                outcomes.examples.append(f"{how}: {line}")
            outcomes[how] += 1
    return outcomes


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Command]:
    monkeypatch.chdir(tmp_path)
    return commands(tmp_path)


def test_no_bad_line_is_accepted_and_none_ends_in_a_traceback(listed, capsys, monkeypatch):
    outcomes = fuzz_lines(listed, 2 * CASES, capsys, monkeypatch)
    outcomes.tell("command lines", capsys)
    assert outcomes.wrong == 0, outcomes.examples
    assert outcomes["accepted"] > CASES // 4


def _number(text: str) -> float:
    return float(text or 0)


def _replaced(place: object, name: str, broken: object) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(place, name, broken)


def _fails(*_: object, **__: object) -> object:
    raise KeyError("x")


DEFECTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "any number of episodes": _replaced(policies, "_EPISODES", _number),
    "any count": _replaced(policies, "COUNT", _number),
    "any seed": _replaced(policies, "SEED", _number),
    "any threshold": _replaced(policies, "amount", _number),
    "any port": _replaced(results, "whole_number", lambda *_: _number),
    "any folder of a sweep": _replaced(sweeps, "place", Path),
    "any output of a policy": _replaced(policies, "place", Path),
    "paths as they are written": _replaced(paths, "_UNSET", paths.re.compile("$^")),
    "assignments that fail": _replaced(config, "parse_assignments", _fails),
    "a finder of configurations that fails": _replaced(shipped, "find_config", _fails),
    "policies without a checksum": _replaced(files, "_check_digest", lambda *_: None),
    "policies of any task": _replaced(
        files, "load_policy_for", lambda task, path, force=False: files.load_policy(path)
    ),
    "tasks that are not looked up": _replaced(spec, "get_task", lambda name: spec.TASKS["BallRun"]),
    "costs that are not checked": _replaced(hdf5._DsrlFile, "_check_costs", lambda self: None),
    "a reader of folders that fails": _replaced(config, "load_config", _fails),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFECTS)
def test_planted_defects_are_caught(name, listed, capsys, monkeypatch):
    DEFECTS[name](monkeypatch)
    assert fuzz_lines(listed, PLANTED, capsys, monkeypatch).wrong, name
