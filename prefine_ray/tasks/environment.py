"""The environment of an own task: how it is made, what is refused, and what its definition learns from it."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prefine_ray.tasks.definition import OwnTaskError, TaskDefinition

if TYPE_CHECKING:
    import gymnasium

_FEW_CHOICES = "PREFINE trains Gaussian policies"
_IMAGE_DIMENSIONS = 2  # a Box of this many dimensions or more is a picture


def make_environment(name: str, definition: TaskDefinition, pictures: bool = False) -> gymnasium.Env:
    """A new environment of an own task, without a time limit of gymnasium's.

    Args:
        name: of the task, for the messages.
        definition: of the task.
        pictures: whether `render` has to give pictures.

    Raises:
        OwnTaskError: it cannot be imported or made, or its spaces are of a kind that no policy here can serve.
    """
    made = _made(name, definition, {"render_mode": "rgb_array"} if pictures else {})
    try:
        check_spaces(name, made)
    except OwnTaskError:
        made.close()
        raise
    return made


def completed(name: str, definition: TaskDefinition) -> TaskDefinition:
    """The definition with what its environment says: sizes, horizon and the digest of its code.

    Raises:
        OwnTaskError: as `make_environment`; or the environment is not what the definition says, or nothing limits the
            length of an episode.
    """
    if not definition.has_environment:
        return definition
    import gymnasium

    with closing(make_environment(name, definition)) as made:
        found = {
            "observations": gymnasium.spaces.utils.flatdim(made.observation_space),
            "actions": gymnasium.spaces.utils.flatdim(made.action_space),
            "code": _code(made),
        }
        for key in ("observations", "actions"):
            if getattr(definition, key) not in (None, found[key]):
                raise _error(
                    name, key, f"{getattr(definition, key)}, but the environment has {found[key]}; leave it out"
                )
        return definition.model_copy(update={**found, "horizon": definition.horizon or _time_limit(name, made)})


def _made(name: str, definition: TaskDefinition, options: dict[str, Any]) -> gymnasium.Env:
    import gymnasium

    module, _, attribute = definition.env.partition(":")
    with_folder(definition.folder)
    try:
        if attribute.isidentifier():
            made = _call(getattr(importlib.import_module(module), attribute), options)
        else:
            made = gymnasium.make(definition.env, max_episode_steps=-1, disable_env_checker=True, **options)
    except ModuleNotFoundError as error:
        raise _error(
            name, "env", f"{definition.env}: no module {error.name!r}; set folder to where it lies, or install it"
        ) from error
    except AttributeError as error:
        raise _error(name, "env", f"{definition.env}: {error}; the form is module:function or module:Id-v0") from error
    except gymnasium.error.Error as error:
        raise _error(
            name,
            "env",
            f"{definition.env}: {str(error).rstrip('.')}; to register it on import, write my_module:{definition.env}",
        ) from error
    except OwnTaskError:
        raise
    except Exception as error:  # of the user's own code
        raise _error(name, "env", f"{definition.env}: making it raised {type(error).__name__}: {error}") from error
    if not isinstance(made, gymnasium.Env):
        raise _error(name, "env", f"{definition.env} gave {type(made).__name__}, not a gymnasium.Env")
    return made


def with_folder(folder: str) -> None:
    """Lets modules be imported from a folder, after the installed ones."""
    if folder not in sys.path:
        sys.path.append(folder)


def _call(factory: Any, options: dict[str, Any]) -> Any:
    """The factory's environment; one that takes no `render_mode` is called without."""
    if not callable(factory):
        raise TypeError(f"{factory!r} is no function")
    parameters = inspect.signature(factory).parameters
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    return factory(**{key: value for key, value in options.items() if takes_all or key in parameters})


def check_spaces(name: str, made: gymnasium.Env) -> None:
    """Refuses an environment whose spaces no policy here can serve.

    Raises:
        OwnTaskError: naming `name`, what is wrong and the remedy.
    """
    import gymnasium

    actions, observations = made.action_space, made.observation_space
    if not isinstance(actions, gymnasium.spaces.Box):
        raise _error(name, "env", f"its actions are {actions}; {_FEW_CHOICES}, which need a Box of numbers")
    if not (np.isfinite(actions.low).all() and np.isfinite(actions.high).all() and (actions.low < actions.high).all()):
        raise _error(
            name,
            "env",
            f"its actions {actions} have no finite low and high, which [-1, 1] is mapped to; give them both",
        )
    for place, space in _boxes(observations, ""):
        if not isinstance(space, gymnasium.spaces.Box):
            raise _error(
                name, "env", f"its observations{place} are {space}; only Box spaces, or a Dict of them, are read"
            )
        if len(space.shape) >= _IMAGE_DIMENSIONS or space.dtype == np.uint8:
            raise _error(
                name,
                "env",
                f"its observations{place} are images or tables {space.shape}; {_FEW_CHOICES} of vectors: give features",
            )


def _boxes(space: gymnasium.Space, place: str) -> list[tuple[str, gymnasium.Space]]:
    """The spaces within a Dict, with where they are; the space itself where it is none."""
    import gymnasium

    if not isinstance(space, gymnasium.spaces.Dict):
        return [(place, space)]
    return [inner for key, one in space.spaces.items() for inner in _boxes(one, f"{place}[{key!r}]")]


def _time_limit(name: str, made: gymnasium.Env) -> int:
    """The steps after which the environment is registered to end."""
    import gymnasium

    spec = None if made.spec is None else gymnasium.registry.get(made.spec.id)  # that of `made` has no limit
    if spec is None or spec.max_episode_steps is None:
        raise _error(name, "horizon", "the environment has no time limit of its own; give the steps of an episode")
    return spec.max_episode_steps


def _code(made: gymnasium.Env) -> str:
    """Digest of the source file that defines the environment's class."""
    try:
        path = inspect.getsourcefile(type(made.unwrapped))
    except TypeError:  # of a class that is written in C, or in a console
        path = None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16] if path and Path(path).is_file() else "unknown"


def _error(name: str, key: str, text: str) -> OwnTaskError:
    return OwnTaskError(f"{name}.{key}: {text}")
