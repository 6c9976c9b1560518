"""What the check of a cluster's nodes says, without a cluster (`tests/faults/test_preflight.py` has one)."""

from __future__ import annotations

from prefine_ray.orchestration.preflight import mixed_machines

EPYC, XEON = "AMD EPYC 9654, AVX-512", "Intel Xeon E5-2680, AVX2"
OLD, NEW = "glibc 2.31", "glibc 2.36"


def test_equal_machines_are_no_warning():
    assert mixed_machines({"one": [EPYC, NEW], "two": [EPYC, NEW]}) == ""


def test_different_cpus_are_named_and_what_follows():
    warning = mixed_machines({"one": [XEON, NEW], "two": [EPYC, NEW], "three": [EPYC, NEW]})
    assert warning.startswith(f"Warning: the nodes have different CPUs ({EPYC}; {XEON}).")
    assert "training is not" in warning
    assert "C libraries" not in warning


def test_different_c_libraries_are_named_and_what_follows():
    warning = mixed_machines({"one": [EPYC, NEW], "two": [EPYC, OLD]})
    assert warning.startswith(f"Warning: the nodes have different C libraries ({OLD}; {NEW})")
    assert "CPUs" not in warning


def test_both_differences_are_two_lines():
    assert len(mixed_machines({"one": [EPYC, NEW], "two": [XEON, OLD]}).splitlines()) == 2


def test_a_node_that_does_not_answer_is_left_out():
    assert mixed_machines({"one": [EPYC, NEW], "two": ["does not answer within 60 s"]}) == ""
