"""Policy files whose header lies, and files that were altered."""

import json
import struct

import pytest

from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.tensor_files import load_tree, save_tree
from prefine_ray.policies.files import PolicyFileError, load_policy_for, policy_bytes, policy_from_bytes, save_policy
from prefine_ray.policies.gaussian import PolicyHeader
from prefine_ray.tasks.spec import get_task
from tests.makers import small_policy

GOOD = policy_bytes(small_policy(), PolicyHeader("BallRun"))


def with_header(change) -> bytes:
    """The good file with another header; `change` edits the metadata's JSON and the tensors' entries."""
    length = int.from_bytes(GOOD[:8], "little")
    header = json.loads(GOOD[8 : 8 + length])
    said = json.loads(header["__metadata__"]["prefine_policy"])
    header = change(header, said) or header
    if header.get("__metadata__"):
        header["__metadata__"]["prefine_policy"] = json.dumps(said)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + GOOD[8 + length :]


def gigabytes(header, said):
    said["architecture"]["hidden"] = [60000, 60000, 60000, 60000]


def far_tensor(header, said):
    header["weights.0"]["data_offsets"] = [0, 2**40]
    header["weights.0"]["shape"] = [1, 2**20, 2**18]


def without_metadata(header, said):
    return {**header, "__metadata__": None}


def no_numbers(header, said):
    said["architecture"]["obs_dim"] = True


@pytest.mark.parametrize("change", [gigabytes, far_tensor, without_metadata, no_numbers])
def test_a_header_that_lies_is_refused_before_anything_is_allocated(change):
    with pytest.raises(PolicyFileError, match=r"bad: .*(damaged|do not fit together)"):
        policy_from_bytes(with_header(change), "bad")


def test_a_huge_header_is_refused():
    for length in (2**62, 2**40, len(GOOD)):
        with pytest.raises(PolicyFileError, match="not a safetensors file, or damaged"):
            policy_from_bytes(struct.pack("<Q", length) + GOOD[8:], "bad")


def test_every_altered_bit_is_found():
    for place in range(0, 8 * len(GOOD), 61):
        altered = bytearray(GOOD)
        altered[place // 8] ^= 1 << place % 8
        with pytest.raises(PolicyFileError, match="bad"):
            policy_from_bytes(bytes(altered), "bad")


def test_a_policy_of_another_task_needs_force(tmp_path):
    save_policy(small_policy("BallCircle"), tmp_path / "p.safetensors", PolicyHeader("CarCircle"))
    with pytest.raises(PolicyFileError, match="made for CarCircle, not BallCircle; --force"):
        load_policy_for(get_task("BallCircle"), tmp_path / "p.safetensors")
    assert load_policy_for(get_task("BallCircle"), tmp_path / "p.safetensors", force=True).population == 1


def test_a_tree_of_tensors_comes_back(tmp_path):
    weights = small_policy().state_dict()
    tree = {"a": weights, 0: [1, 2.5, None, (True, "x")], "nan": weights["obs_mean"][:0]}
    save_tree(tmp_path / "t.safetensors", tree)
    found = load_tree(tmp_path / "t.safetensors")
    assert found[0] == tree[0]
    assert all(found["a"][name].equal(value) for name, value in weights.items())
    with pytest.raises(TypeError, match="holds object"):
        save_tree(tmp_path / "t.safetensors", {"a": object()})
    (tmp_path / "t.safetensors").write_bytes(GOOD)
    with pytest.raises(DamagedFileError, match="not a checkpoint's state"):
        load_tree(tmp_path / "t.safetensors")


def test_a_header_may_say_that_an_axis_does_not_apply():
    policy = policy_from_bytes(policy_bytes(small_policy(), PolicyHeader("BallRun", {"weight": float("nan")})))
    assert policy.header is not None
    assert policy.header.made_by["weight"] != policy.header.made_by["weight"]
