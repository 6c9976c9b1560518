"""Which errors are worth another try, and which are the cell's own."""

from __future__ import annotations

import re
import traceback

from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.train import TrainingFailedError

from prefine_ray.core.errors import PrefineError, last_line

_CONSTRUCTOR_ERROR = re.compile(r"Traceback|Error|Exception")
_TRANSIENT_NAME = re.compile(
    r"^(\S*\.)?(OSError|ConnectionError|TimeoutError|\w*(Connection|IO|Timeout)\w*Error|\w*ObjectLost\w*)\b"
)


class PackError(RuntimeError):
    """Fine-tuning or evaluation raised an error that would come again; the message is the traceback."""


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed next time: lost processes and nodes, storage and network.

    Anything else that Python code raised follows from the cell's configuration and data; so does what an actor's
    constructor raised, though Ray then speaks of an actor that died.
    """
    if isinstance(error, PrefineError):
        return False
    if isinstance(error, ActorDiedError) and error.actor_init_failed:
        return not _CONSTRUCTOR_ERROR.search(str(error)) or bool(_TRANSIENT_NAME.search(last_line(str(error))))
    if isinstance(error, RayTaskError):
        return error.cause is not None and is_transient(error.cause)
    return isinstance(error, OSError | RayError | TrainingFailedError)


def full_text(error: BaseException) -> str:
    """The error with its traceback."""
    return "".join(traceback.format_exception(error))
