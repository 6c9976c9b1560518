"""Numbers and places on the command line are checked before any work starts."""

import pytest

from prefine_ray.cli.parser import build_parser, main

EVALUATE = ["evaluate", "--task", "BallRun", "--policy", "p"]
RENDER = ["render", "--task", "BallRun", "--policy", "p", "--output", "x.gif"]
FINETUNE = ["finetune", "--task", "BallRun"]
COLLECT = ["data", "collect", "--task", "BallRun"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*EVALUATE, "--episodes", "0"], "--episodes: 0: 1 to 100000 is possible"),
        ([*EVALUATE, "--episodes", "-3"], "--episodes: -3"),
        ([*EVALUATE, "--episodes", "1e9"], "no whole number"),
        ([*EVALUATE, "--episodes", "99999999999"], "is possible"),
        ([*EVALUATE, "--seed", "-1"], "0 or more is needed"),
        ([*EVALUATE, "--seed", "9" * 30], "--seed"),
        ([*RENDER, "--steps", "0"], "1 or more is needed"),
        ([*RENDER, "--threshold", "nan"], "a finite number of at least 0"),
        ([*FINETUNE, "--threshold", "-1"], "a finite number of at least 0"),
        ([*FINETUNE, "--weight", "inf"], "a finite number of at least 0"),
        ([*FINETUNE, "--weight", "much"], "'much' is no number"),
        ([*FINETUNE, "--seeds", "0", "-1"], "0 or more is needed"),
        ([*COLLECT, "--episodes", "0"], "1 or more is needed"),
        ([*COLLECT, "--actors", "0"], "1 or more is needed"),
        (["sweep", "quick", "--actors", "0"], "1 or more is needed"),
        (["sweep", "quick", "--results", ""], "not an empty text"),
        (["sweep", "quick", "--data-dir", "$NO_SUCH_VARIABLE/x"], "is not set"),
        (["search", "search", "--trials", "0"], "1 or more is needed"),
        (["pretrain", "--task", "BallRun", "--steps", "0"], "1 or more is needed"),
        (["pretrain", "--task", "BallRun", "--workers", "-1"], "0 to 1000"),
        (["ui", "x", "--port", "70000"], "1 to 65535"),
    ],
)
def test_an_option_out_of_range_is_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_place_may_have_home_and_variables(monkeypatch):
    monkeypatch.setenv("PLACE", "/there")
    options = build_parser().parse_args(["sweep", "quick", "--results", "$PLACE/x", "--data-dir", "~/d"])
    assert str(options.results) == "/there/x"
    assert "~" not in str(options.data_dir)


@pytest.mark.parametrize("extra", [["--labels", "{tsk}.csv"], ["--policy", "{tsk}.safetensors"]])
def test_braces_that_mean_nothing_are_refused(extra, capsys):
    assert main([*FINETUNE, "--data", "x.hdf5", *extra]) == 2
    assert "{tsk} stands for nothing" in capsys.readouterr().err
    assert main([*COLLECT, "--behaviours", "{tsk}"]) == 2
    assert "prefine data collect: data.source:" in capsys.readouterr().err
