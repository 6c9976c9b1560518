"""The page of the Python reference: every public name of `prefine_ray`, from its signature and docstring."""

from __future__ import annotations

import inspect
from typing import Any

import prefine_ray
from prefine_ray.methods.registry import methods

_HEAD = """# Python

Everything here is imported from `prefine_ray` itself (`import prefine_ray as pr`). Importing it is cheap: what a name
needs is loaded when the name is first used.
"""
_LINE = 88


def page() -> str:
    """The Markdown, with one directive of mkdocstrings for each name."""
    return "\n".join([_HEAD, *(_section(name) for name in sorted(prefine_ray.__all__, key=str.lower))])


def _section(name: str) -> str:
    place = prefine_ray._PLACES[name].replace(":", ".")
    value = getattr(prefine_ray, name)
    signature = f"```python\n{_signature(name, value)}\n```\n" if inspect.isfunction(value) else ""
    sections = {method.section for method in methods().values() if method.settings is value}
    fields = "".join(f"\nIts fields are in the [configuration](configuration.md#{key}).\n" for key in sorted(sections))
    options = "    options:\n      show_root_toc_entry: false\n      members: false\n"
    return f"## {name} {{ #{name} }}\n\n{signature}\n::: {place}\n{options}{fields}"


def _signature(name: str, function: Any) -> str:
    """How a function is called, on one line or one line for each argument."""
    signature = inspect.signature(function)
    words = [str(parameter).replace("'", "") for parameter in signature.parameters.values()]
    if any(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in signature.parameters.values()):
        kinds = [parameter.kind for parameter in signature.parameters.values()]
        words.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    end = f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(words)}){end}"
    return line if len(line) <= _LINE else f"{name}(\n    " + ",\n    ".join(words) + f",\n){end}"
