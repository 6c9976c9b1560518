"""The retry rule: which errors are worth another try, how many tries there are, and which errors are the cell's own.

- A Train worker that is lost runs again from its last checkpoint, WORKER_FAILURES times within one fit.
- A trial whose process or node is lost runs again TRIAL_FAILURES times; its fit resumes from its last checkpoint.
- A unit of rollouts or counterfactuals whose actor is lost runs again UNIT_FAILURES times, on a new actor.
- Tune itself, which ends when a trial's process is killed for lack of memory, is started TUNE_STARTS times.
- Any other error would come again: it is recorded in the rows of the cells, and the run continues without them.
"""

from __future__ import annotations

import re
import traceback

from ray.exceptions import ActorDiedError, RayError, RayTaskError

from prefine_ray.core.errors import PrefineError, last_line
from prefine_ray.results.folder import StorageError

WORKER_FAILURES = 3
TRIAL_FAILURES = 5
UNIT_FAILURES = 5
TUNE_STARTS = 5
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
    if isinstance(error, PrefineError) and not isinstance(error, StorageError):
        return False
    if isinstance(error, ActorDiedError) and error.actor_init_failed:
        return not _CONSTRUCTOR_ERROR.search(str(error)) or bool(_TRANSIENT_NAME.search(last_line(str(error))))
    if isinstance(error, RayTaskError):
        return error.cause is not None and is_transient(error.cause)
    from ray.train import TrainingFailedError  # which the rollout actors, who import this module, do not need

    return isinstance(error, OSError | RayError | TrainingFailedError)


def lasting_text(error: Exception) -> str:
    """The traceback of an error that would come again, for the cells' rows.

    Raises:
        Exception: the error itself, if another try may succeed.
    """
    if is_transient(error):
        raise error
    return "".join(traceback.format_exception(error))
