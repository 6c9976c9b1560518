"""What the documents tell people to type: the real parser takes every command, every Python block compiles."""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import importlib.util
import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import prefine_ray
from prefine_ray.cli.parser import build_parser
from prefine_ray.core.settings import Section
from prefine_ray.experiment.config import config_type
from prefine_ray.experiment.search_config import SearchConfig
from tests.docs.conftest import ROOT

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "cluster").rglob("*.md"), *(ROOT / "docs").rglob("*.md")],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
_FENCE = re.compile(r"^ *```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^ *```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`(prefine [^`]+)`(?!`)")
_ENDS = {"|", "&&", "||", ";", "&", ">", ">>"}
_NUMBERS = {"N": "3", "S": "3", "W": "3"}  # placeholders where an option takes a number


def fences(text: str, *languages: str) -> list[str]:
    return [found["body"] for found in _FENCE.finditer(text) if found["language"] in languages]


def command_lines(text: str) -> list[str]:
    """Lines of code blocks that call prefine, with lines that a backslash continues; without comments."""
    shell = "\n".join(fences(text, "sh", "bash", "console", ""))
    indented = "\n".join(line for line in _FENCE.sub("", text).splitlines() if line.startswith("    "))
    joined = re.sub(r"\\\n\s*", " ", shell + "\n" + indented)
    lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
    return [line for line in lines if re.match(r"(\w+=\S+ )*prefine ", line)]


def words_of(line: str) -> list[str]:
    """The words after `prefine`, up to a pipe or another command."""
    words = shlex.split(re.sub(r"\s#.*", "", line))
    words = words[words.index("prefine") + 1 :]
    end = next((place for place, word in enumerate(words) if word in _ENDS), len(words))
    return [_NUMBERS.get(word, word) for word in words[:end]]


def complaint(words: list[str]) -> str:
    """What the parser says against a command; empty: nothing."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        try:
            build_parser().parse_args(words)
        except SystemExit as end:
            return told.getvalue() if end.code else ""
    return ""


def inline_complaint(text: str) -> str:
    """A command in the middle of a sentence may leave out what it needs, but command and options must exist."""
    parser, words = build_parser(), text.split()[1:]
    while words and (group := next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)):
        if not re.fullmatch(r"[a-z][a-z-]*", words[0]):
            break
        if words[0] not in group.choices:
            return f"no command {words[0]!r}"
        parser = group.choices[words.pop(0)]
    known = {option for action in parser._actions for option in action.option_strings}
    unknown = [word for word in re.findall(r"(?<!\S)--[a-z-]+", " ".join(words)) if word not in known]
    return f"no option {unknown[0]!r}" if unknown else ""


@pytest.mark.parametrize("name", NAMES)
def test_the_parser_takes_every_command(name: str):
    text = (ROOT / name).read_text()
    wrong = {line: said for line in command_lines(text) if (said := complaint(words_of(line)))}
    prose = re.sub(r"\s*\n\s*", " ", _FENCE.sub("", text))
    wrong |= {found: said for found in _INLINE.findall(prose) if (said := inline_complaint(found))}
    assert wrong == {}


def test_commands_are_found_and_wrong_ones_refused():
    assert sum(len(command_lines(path.read_text())) for path in DOCUMENTS) > 20
    [line] = command_lines("Type\n\n    A=1 prefine sweep quick \\\n        --resum   # again\n")
    assert words_of(line) == ["sweep", "quick", "--resum"]
    assert "unrecognized arguments" in complaint(["sweep", "quick", "--no-such"])
    assert complaint(["sweep", "quick", "--resume"]) == ""
    assert inline_complaint("prefine swep") != ""
    assert inline_complaint("prefine sweep --resume") == ""
    assert inline_complaint("prefine sweep --no-such") != ""


@pytest.mark.parametrize("name", NAMES)
def test_python_blocks_compile_and_import_what_exists(name: str):
    for block in fences((ROOT / name).read_text(), "python", "py"):
        assert missing_names(block) == []


def missing_names(block: str) -> list[str]:
    """Modules and names that a block imports, or takes from `prefine_ray`, and that do not exist."""
    tree = ast.parse(block)
    missing: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            missing += [alias.name for alias in node.names if not is_installed(alias.name)]
        elif isinstance(node, ast.ImportFrom) and (place := node.module or "").startswith("prefine_ray"):
            module = importlib.import_module(place)
            missing += [f"{place}.{alias.name}" for alias in node.names if not hasattr(module, alias.name)]
        elif isinstance(node, ast.ImportFrom):
            missing += [] if is_installed(node.module or "") else [node.module or ""]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pr":
            missing += [] if hasattr(prefine_ray, node.attr) else [f"pr.{node.attr}"]
    return missing


def is_installed(module: str) -> bool:
    """Whether the package of a module is there; it is not imported, which takes seconds for some."""
    return importlib.util.find_spec(module.partition(".")[0]) is not None


@pytest.mark.parametrize("name", NAMES)
def test_python_is_in_fences_that_say_so(name: str):
    """So that the test above sees it."""
    unmarked = [*fences((ROOT / name).read_text(), ""), _FENCE.sub("", (ROOT / name).read_text())]
    assert [line for text in unmarked for line in re.findall(r"^ *(?:import \w|from \w+ import ).*$", text, re.M)] == []


@pytest.mark.parametrize("name", NAMES)
def test_keys_of_configurations_exist(name: str):
    for block in fences((ROOT / name).read_text(), "yaml", "yml"):
        assert unknown_keys(yaml.safe_load(block)) == []


def unknown_keys(content: dict[str, Any]) -> list[str]:
    """Keys of the top level and of sections that no configuration has."""
    fields = config_type(SearchConfig).model_fields
    found = [key for key in content if key not in fields]
    for key in content.keys() & fields.keys():
        section, values = fields[key].annotation, content[key]
        if isinstance(section, type) and issubclass(section, Section) and isinstance(values, dict):
            found += [f"{key}.{own}" for own in values if own not in section.model_fields]
    return found


def test_unknown_keys_are_found():
    assert unknown_keys({"taks": 1, "finetune": {"step": 3, "steps": 5}}) == ["taks", "finetune.step"]


def test_missing_names_are_found():
    imports = "import no_such_package\nfrom prefine_ray.api import collect, no_such\nimport prefine_ray as pr\n"
    missing = ["no_such_package", "prefine_ray.api.no_such", "pr.nothing"]
    assert missing_names(imports + "pr.nothing()\n") == missing
    assert sum(len(fences(path.read_text(), "python")) for path in DOCUMENTS) >= 3


def test_documents_link_to_what_exists():
    """Files that GitHub shows outside the site, too."""
    broken = []
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s#:]+)(?:#[^)\s]*)?\)", _FENCE.sub("", path.read_text())):
            if not Path(path.parent, target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    generated = re.compile(r"(reference/(api|cli|configuration)|how-to/\w+|security|changelog|contributing)[\w-]*\.md$")
    assert [link for link in broken if not generated.search(link)] == []
