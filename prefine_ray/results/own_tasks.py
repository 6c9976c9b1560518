"""The own tasks that the rows of a results folder are of."""

from __future__ import annotations

from pydantic import ValidationError

from prefine_ray.results.folder import ResultsDir, ResultsFolderError
from prefine_ray.tasks.definition import TaskDefinition
from prefine_ray.tasks.registration import add_task


def add_stored_tasks(results: ResultsDir) -> None:
    """Registers the own tasks of a folder in this process, as its rows need their constants.

    No environment is made, so that the rows can be read where its code is not.

    Raises:
        ResultsFolderError: a definition is damaged.
        OwnTaskError: this process knows a task of the name with another definition.
    """
    definitions = results.saved_config().get("task_definitions") if results.config_path.exists() else None
    try:
        for name, content in (definitions or {}).items():
            add_task(name, TaskDefinition.model_validate(content))
    except (AttributeError, ValidationError) as error:
        raise ResultsFolderError(f"{results.config_path}: task_definitions: {error}") from error
