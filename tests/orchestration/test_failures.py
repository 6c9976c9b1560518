"""Which errors are worth another try."""

import pytest
import ray
from ray.exceptions import ActorDiedError, RayTaskError

from prefine_ray.core.errors import PrefineError
from prefine_ray.orchestration.failures import is_transient


def died_in_constructor(error: Exception) -> ActorDiedError:
    """As Ray reports an actor whose constructor raised."""
    assert ray.__version__
    text = f"ray::A.__init__()\nTraceback (most recent call last):\n{type(error).__module__}.{type(error).__name__}: x"
    return ActorDiedError(RayTaskError("A.__init__", text.replace("builtins.", ""), error, actor_id="ab"))


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (OSError("disk"), True),
        (ValueError("x"), False),
        (PrefineError("x"), False),
        (ActorDiedError(), True),
        (died_in_constructor(ValueError("x")), False),
        (died_in_constructor(PrefineError("x")), False),
        (died_in_constructor(OSError("x")), True),
    ],
)
def test_an_actor_whose_constructor_raised_is_no_lost_actor(error, transient):
    assert is_transient(error) is transient
