"""YAML from files and options that others may have written: every key once, few aliases, a bounded size."""

from __future__ import annotations

from typing import Any

import yaml

_MAX_CHARACTERS = 2**20
_MAX_ALIASES = 100
_MAX_DEPTH = 40


class YAMLContentError(ValueError):
    """The text is no YAML that we take; the message says why and where, without the name of the file."""


class _Loader(yaml.SafeLoader):
    """Plain values only; a key that stands twice in one mapping is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                raise YAMLContentError(
                    f"line {key.start_mark.line + 1}: key {key.value!r} stands twice; leave one of the two"
                )
            if name is not None:
                seen.add(name)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """The content of a YAML text.

    Raises:
        YAMLContentError: not YAML, a key that stands twice, too many aliases, nested too deeply, or too long.
    """
    if len(text) > _MAX_CHARACTERS:
        raise YAMLContentError(f"{len(text)} characters long; at most {_MAX_CHARACTERS} are read")
    try:
        _check_events(text)
        return yaml.load(text, _Loader)
    except YAMLContentError:
        raise
    except yaml.YAMLError as error:
        raise YAMLContentError(f"not valid YAML: {error}") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # e.g. a date or a number out of range
        raise YAMLContentError(f"not valid YAML: {error}") from error


def _check_events(text: str) -> None:
    """Aliases multiply what a short text unpacks to; they are counted before anything is built."""
    aliases = depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        aliases += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if aliases > _MAX_ALIASES:
            raise YAMLContentError(f"more than {_MAX_ALIASES} aliases (*name); write the values out")
        if depth > _MAX_DEPTH:
            raise YAMLContentError(f"nested more than {_MAX_DEPTH} deep")
