"""The page of the Python reference: every public name of `prefine_ray`, from its docstring."""

from __future__ import annotations

import prefine_ray

_HEAD = """# Python

Everything here is imported from `prefine_ray` itself (`import prefine_ray as pr`). Importing it is cheap: what a name
needs is loaded when the name is first used.
"""


def page() -> str:
    """The Markdown, with one directive of mkdocstrings for each name."""
    parts = [_HEAD]
    for name in sorted(prefine_ray.__all__, key=str.lower):
        place = prefine_ray._PLACES[name].replace(":", ".")
        parts.append(f"## {name} {{ #{name} }}\n\n::: {place}\n    options:\n      show_root_toc_entry: false\n")
    return "\n".join(parts)
