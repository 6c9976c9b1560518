import shlex
from pathlib import Path

import pytest

from prefine_ray.cli.parser import build_parser, main
from prefine_ray.cli.sweeps import resume_command


@pytest.mark.parametrize(
    "words",
    [
        ["sweep", "a.yaml", "--tasks", "BallRun", "CarRun", "--set", "finetune.steps=5", "seeds=[1, 2]"],
        ["search", "a.yaml", "--task", "BallRun", "--trials", "3", "--set", "name='it is'"],
        ["sweep", "a b.yaml", "--data-dir", "my data", "--address", "auto", "--actors", "3"],
    ],
    ids=["sweep", "search", "cluster"],
)
def test_the_command_that_goes_on_asks_for_the_same_run(words):
    options = build_parser().parse_args(words)
    place, program, again = resume_command(words[0], options, Path("results/a b")).rpartition("prefine ")
    assert (place, program) == (f"cd {shlex.quote(str(Path.cwd()))} && " if options.set else "", "prefine ")
    resumed = build_parser().parse_args(shlex.split(again))
    assert (resumed.resume, resumed.results) == (True, Path("results/a b"))
    assert resumed.data_dir == options.data_dir.absolute()
    for name in ("config", "address", "actors", "set", "tasks", "task", "trials"):
        assert getattr(resumed, name, None) == getattr(options, name, None)


def test_a_key_is_given_by_one_option_alone(capsys):
    assert main(["sweep", "quick", "--tasks", "BallRun", "--set", "tasks=[[1]]"]) == 2
    assert "tasks: is given twice, by --set and by an option of its own" in capsys.readouterr().err
