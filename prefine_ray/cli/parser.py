"""The `prefine` command. Heavy imports happen in the commands that need them."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Sequence
from typing import Any

import prefine_ray
from prefine_ray.cli import configs, conversion, data, doctor, finetune, labels, policies, results, sweeps, tasks
from prefine_ray.cli.options import Commands, add_own_tasks
from prefine_ray.core.errors import INTERRUPTED, PrefineError

BROKEN_PIPE = 141  # as a shell shows a process that SIGPIPE ended
_COMPLETION = 'shell completion (bash, zsh):\n  eval "$(register-python-argcomplete prefine)"'


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the process's exit status."""
    options = _parse(arguments)
    try:
        if config := getattr(options, "task_config", None):
            add_own_tasks(config)
        status = options.run(options) or 0
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("\nprefine: interrupted", file=sys.stderr)
        return INTERRUPTED
    except PrefineError as error:
        print(f"prefine: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        return BROKEN_PIPE
    except OSError as error:
        if error.filename is None:
            raise
        print(f"prefine: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:  # the shell asks how a word may end
        import argcomplete

        argcomplete.autocomplete(parser)
    return parser.parse_args(arguments)


def _reader_is_gone() -> bool:
    """Whether standard output, as in `prefine status DIR | head`, is read no more; then nothing is written to it."""
    output = select.poll()
    output.register(sys.stdout, 0)  # errors are reported in any case
    if not output.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again when it ends
    return True


class _Version(argparse.Action):
    """Prints the version of the package and its commit."""

    def __init__(self, option_strings: Sequence[str], dest: str, **settings: Any):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="print version and commit, and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from prefine_ray.core.provenance import commit

        print(f"prefine {prefine_ray.__version__} (commit {commit()})")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options and examples."""
    parser = argparse.ArgumentParser(
        prog="prefine",
        description="Preference-based safety fine-tuning on Ray.",
        epilog=_COMPLETION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    add = Commands(parser.add_subparsers(title="commands", required=True, metavar="COMMAND"))
    tasks.register(add)
    data.register(add)
    policies.register(add)
    labels.register(add)
    finetune.register(add)
    policies.register_uses(add)
    conversion.register(add)
    configs.register(add)
    sweeps.register(add)
    results.register(add)
    doctor.register(add)
    return parser
