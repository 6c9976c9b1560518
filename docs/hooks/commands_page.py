"""The page of the commands, read from the parser that reads the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from prefine_ray.cli.parser import build_parser

_HEAD = """# Commands

`prefine COMMAND --help` says the same. Paths may hold `~` and `$VARIABLES`.
"""


def page() -> str:
    """The Markdown: one section for each command."""
    return "\n".join([_HEAD, *(_section(parser) for parser in commands(build_parser()))])


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all commands, and of commands of commands, in the order of the help."""
    for group in parser._actions:
        if isinstance(group, argparse._SubParsersAction):
            for command in dict.fromkeys(group.choices.values()):
                yield command
                yield from commands(command)


def _section(parser: argparse.ArgumentParser) -> str:
    lines = [f"## {parser.prog}\n", _sentence(parser.description or "") + "\n"]
    lines.append(f"```text\n{_usage(parser)}\n```\n")
    rows = [_row(action, parser) for action in parser._actions if _is_shown(action)]
    if rows:
        lines += ["| argument | what |", "|---|---|", *rows, ""]
    example = (parser.epilog or "").removeprefix("example:\n").strip()
    if example and example != parser.prog:
        lines.append(f"Example:\n\n```sh\n{example}\n```\n")
    return "\n".join(lines)


def _usage(parser: argparse.ArgumentParser) -> str:
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    help_text = argparse.HelpFormatter(parser.prog, width=72)
    help_text.add_usage(parser.usage, actions, parser._mutually_exclusive_groups, "")
    return help_text.format_help().strip()


def _is_shown(action: argparse.Action) -> bool:
    hidden = isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
    return not hidden and action.help != argparse.SUPPRESS


def _row(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar or action.dest}`"
    value = f" `{action.metavar}`" if action.option_strings and isinstance(action.metavar, str) else ""
    text = (action.help or "") % {**vars(action), "prog": parser.prog}
    choices = f" One of {', '.join(f'`{choice}`' for choice in action.choices)}." if action.choices else ""
    required = " Required." if action.option_strings and action.required else ""
    return f"| {names}{value} | {_cell(_sentence(text) + choices + required)} |"


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if not text or text.endswith(".") else text + "."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
