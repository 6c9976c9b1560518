"""Which errors are worth another try, and which are the cell's own."""

from __future__ import annotations

import traceback

from ray.exceptions import RayError, RayTaskError
from ray.train import TrainingFailedError


class PackError(RuntimeError):
    """Fine-tuning or evaluation raised an error that would come again; the message is the traceback."""


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed next time: lost processes and nodes, storage and network.

    Anything else that Python code raised follows from the cell's configuration and data.
    """
    if isinstance(error, RayTaskError):
        return error.cause is not None and is_transient(error.cause)
    return isinstance(error, OSError | RayError | TrainingFailedError)


def full_text(error: BaseException) -> str:
    """The error with its traceback."""
    return "".join(traceback.format_exception(error))
