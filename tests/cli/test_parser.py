"""What all commands have in common."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import prefine_ray
from prefine_ray.cli.parser import build_parser, main

HEAVY = ("numpy", "pandas", "torch", "ray", "mlflow", "mujoco", "pydantic")


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


@pytest.mark.parametrize("parser", list(parsers(build_parser())), ids=lambda parser: parser.prog)
def test_every_command_has_help_and_an_example_that_it_understands(parser):
    assert parser.format_help()
    example = parser.epilog.splitlines()[-1].strip()
    if parser.prog != "prefine":
        assert example.startswith(("prefine", parser.prog))
        build_parser().parse_args(example.partition(" > ")[0].split()[1:])


def test_help_needs_none_of_the_heavy_packages():
    script = "import sys; from prefine_ray.cli.parser import build_parser; build_parser().format_help(); "
    script += f"print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_names_package_and_commit(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"prefine {prefine_ray.__version__} (commit ")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("prefine conf", {"configs"}),
        ("prefine evaluate --task Ball", {"BallRun", "BallCircle"}),
        ("prefine sweep qui", {"quick"}),
    ],
)
def test_the_shell_completes_commands_tasks_and_configs(line: str, words: set[str], tmp_path: Path):
    answer = tmp_path / "answer"
    variables = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    script = "from prefine_ray.cli.parser import main; main()"
    environment = {**os.environ, **variables, "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert {word.strip() for word in answer.read_text().split("\n")} >= words
