"""Packages that only conversions need, in requirements-convert.txt."""

from __future__ import annotations

import importlib
from typing import Any

from prefine_ray.core.errors import PrefineError


class MissingPackageError(PrefineError, ImportError):
    """A conversion needs a package that is not installed; the message says how to install it."""


def needed(module: str, package: str) -> Any:
    """The module of a package.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"this needs the package {package} ({error}); install it with: pip install -r requirements-convert.txt "
            "(the extra prefine-ray[convert])"
        ) from error
