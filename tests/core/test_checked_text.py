"""YAML and JSON that others may have written."""

import pytest

from prefine_ray.core.checked_json import JSONContentError, parse_json
from prefine_ray.core.checked_yaml import YAMLContentError, parse_yaml
from prefine_ray.experiment.config import ConfigError, parse_config

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "more than 100 aliases"),
        ("[" * 1000, "nested more than"),
        ("a: 1\nb: 2\na: 3\n", "line 3: key 'a' stands twice"),
        ("a: {x: 1, x: 2}", "'x' stands twice"),
        ("!!python/object/apply:os.system [ls]", "not valid YAML"),
        ("a: 2024-99-99", "not valid YAML"),
        ("x" * 2**21, "at most"),
        ("a: [", "not valid YAML"),
    ],
)
def test_bad_yaml_is_one_error(text, message):
    with pytest.raises(YAMLContentError, match=message):
        parse_yaml(text)


def test_good_yaml_is_read():
    assert parse_yaml("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}
    with pytest.raises(ConfigError, match=r"f\.yaml: more than 100 aliases"):
        parse_config(BOMB, "f.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": -Infinity}', "Infinity is not a number"),
        ('{"a": 1e999}', "too large"),
        ("[" * 100_000, "nested too deeply"),
        ("{", "line 1: not JSON"),
        (b"\xff\xfe{}", "not"),
    ],
)
def test_bad_json_is_one_error(text, message):
    with pytest.raises(JSONContentError, match=message):
        parse_json(text)
