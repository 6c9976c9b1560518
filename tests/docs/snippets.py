"""The blocks of code of the pages, and what the comments above them say about running them.

Every block of shell or Python is run (`tests/docs/run_page.py`) unless a comment above it says otherwise:

    <!-- not run: needs a SLURM cluster -->                 the whole block
    <!-- not run, `make sweep`: hours -->                   the lines that begin so
    <!-- slow: starts Ray -->                               in `make test-slow` only; `slow, ...` as above
    <!-- run as, `--episodes 100`: --episodes 3 -->         in another size: the first text is replaced by the second
    <!-- first: touch there.txt -->                         what is run before, in the block's language

`{tiny}` in a second text stands for settings that make a sweep small.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SHELL, PYTHON = ("sh", "bash", "console"), ("python", "py")
TINY = (
    "--set finetune.steps=20 seeds=2 tuning_seeds=1 data.episodes=60 preferences.num_preferred=8"
    " preferences.num_dispreferred=4 evaluation.episodes=2 evaluation.conditions=[]"
)
_COMMENT = r"<!-- (?:not run|slow|run as|first)(?:, `[^`\n]+`)?: [^\n]+ -->"
_BLOCK = re.compile(
    rf"^(?P<comments>(?:{_COMMENT}\n+)*)```(?P<language>{'|'.join(SHELL + PYTHON)})\n(?P<body>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
_PARTS = re.compile(r"<!-- (?P<kind>not run|slow|run as|first)(?:, `(?P<text>[^`\n]+)`)?: (?P<told>[^\n]+) -->")
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(
    r"^ {4,}(?:\$ |[A-Z_]+=\S+ )*(?:prefine|python|pip|make|ray|export|git|cluster/\S+) \S.*$", re.MULTILINE
)


class MarkError(ValueError):
    """A comment above a block that says nothing about it."""


@dataclass(frozen=True)
class Snippet:
    """What is run of a block: `quick` always, `whole` in `make test-slow`; "" where nothing is."""

    language: str  # sh or python
    quick: str
    whole: str


def snippets(page: str) -> list[Snippet]:
    """The blocks of a page, in order.

    Raises:
        MarkError: a comment names what is not in its block, stands above no block, or a block is indented.
    """
    blocks = list(_BLOCK.finditer(page))
    if len(_PARTS.findall(page)) != sum(len(_PARTS.findall(block["comments"])) for block in blocks):
        raise MarkError("a comment `<!-- not run: ... -->`, `slow`, `run as` or `first` stands above no block of code")
    if found := _INDENTED.search(_FENCE.sub("", page)):
        raise MarkError(f"{found[0].strip()}: commands stand in a fence, ```sh, so that they are run")
    return [_snippet(block) for block in blocks]


def _snippet(block: re.Match[str]) -> Snippet:
    lines = [line.removeprefix("$ ") for line in re.sub(r" *\\\n\s*", " ", block["body"]).splitlines()]
    shown, first = list(lines), []
    meant: dict[str, set[int]] = {"not run": set(), "slow": set(), "run as": set()}
    for mark in _PARTS.finditer(block["comments"]):
        kind, text, told = mark["kind"], mark["text"], mark["told"].replace("{tiny}", TINY)
        if kind == "first":
            first.append(told)
            continue
        chosen = {i for i, line in enumerate(lines) if _is_meant(line, kind, text)}
        if not chosen:
            raise MarkError(f"{text!r} is named above a block that does not have it")
        if kind == "run as":
            shown = [line.replace(text, told) for line in shown]
        meant[kind] |= chosen
    whole = [i for i in range(len(lines)) if i not in meant["not run"]]
    quick = [i for i in whole if i not in meant["slow"]]
    language = "sh" if block["language"] in SHELL else "python"
    return Snippet(language, _code(first, [shown[i] for i in quick]), _code(first, [shown[i] for i in whole]))


def _is_meant(line: str, kind: str, text: str | None) -> bool:
    return text is None or (text in line if kind == "run as" else line.startswith(text))


def _code(first: list[str], lines: list[str]) -> str:
    """Lines to run, "" where nothing but comments is left."""
    has_code = any(line.strip() and not line.startswith("#") for line in lines)
    return "\n".join([*first, *lines]) + "\n" if has_code else ""
