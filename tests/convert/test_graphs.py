"""TorchScript and ONNX: graphs that PyTorch and Stable-Baselines3 make, in and out."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from stable_baselines3 import SAC
from torch import nn

from prefine_ray.cli.parser import main
from prefine_ray.convert import exporting
from prefine_ray.convert.exporting import PolicyExportError, export_policy
from prefine_ray.convert.importing import ImportOptions, import_file
from prefine_ray.convert.network import PolicyImportError, to_policy
from prefine_ray.convert.sources import onnx, torchscript
from prefine_ray.policies.architecture import UNLIMITED
from prefine_ray.policies.files import save_policy
from prefine_ray.policies.gaussian import PolicyHeader
from prefine_ray.policies.zoo import ZOO
from prefine_ray.tasks.spec import get_task
from tests.makers import small_policy

TASK = get_task("BallRun")
OBSERVATIONS = np.random.default_rng(0).normal(scale=3, size=(200, 7)).astype(np.float32)


class Behind(nn.Module):
    """A network behind a normalisation, with a box of its own."""

    def __init__(self, activation: type[nn.Module] = nn.Tanh) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(7, 16), activation(), nn.Linear(16, 8), activation(), nn.Linear(8, 2))
        self.register_buffer("mean", torch.linspace(-1, 1, 7))
        self.register_buffer("std", torch.linspace(0.5, 2, 7))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        hidden = ((rows - self.mean) / self.std).clamp(-5.0, 5.0)
        return torch.tanh(self.net(hidden)) * 2.0 + 0.5


def saved(module: nn.Module, path: Path, how: str) -> Path:
    """The module's file, of one of PyTorch's ways to make a graph."""
    example = torch.zeros(1, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "script":
            torch.jit.script(module.eval()).save(str(path))
        elif how == "trace":
            torch.jit.trace(module.eval(), example).save(str(path))
        elif how == "frozen":
            torch.jit.freeze(torch.jit.trace(module.eval(), example)).save(str(path))
        else:
            torch.onnx.export(module.eval(), (example,), str(path), dynamo=False, input_names=["obs"])
    return path


@pytest.mark.parametrize("how", ["script", "trace", "frozen", "onnx"])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_a_network_behind_a_normalisation_is_read(how, activation, tmp_path):
    torch.manual_seed(0)
    module = Behind(activation)
    path = saved(module, tmp_path / ("m.onnx" if how == "onnx" else "m.pt"), how)
    found = import_file(path, TASK, None, ImportOptions())
    assert found.difference < 1e-5
    assert found.source == ("onnx" if how == "onnx" else "torchscript")
    with torch.inference_mode():
        expected = (module(torch.from_numpy(OBSERVATIONS)).numpy() - 0.5) / 2.0
    np.testing.assert_allclose(found.policy.act(OBSERVATIONS), expected, atol=1e-5)
    assert found.policy.architecture.observation_limit == 5.0
    assert found.policy.log_std.exp().detach().numpy() == pytest.approx(0.1)


def test_the_actor_of_sb3_s_sac_as_its_documentation_traces_it(tmp_path):
    model = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [16]}, buffer_size=10, seed=0, device="cpu")

    class Actor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            actor = model.policy.actor
            self.actor = nn.Sequential(actor.latent_pi, actor.mu, nn.Tanh())

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return self.actor(rows)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.freeze(torch.jit.trace(Actor().eval(), torch.zeros(1, 3))).save(str(tmp_path / "sac.pt"))
    network, _ = torchscript.read(tmp_path / "sac.pt", (-1.0, 1.0))
    rows = OBSERVATIONS[:, :3].copy()
    expected, _ = model.predict(rows, deterministic=True)
    np.testing.assert_allclose(to_policy(network).act(rows), expected / 2, atol=1e-5)


def test_an_unlimited_output_is_clipped_to_the_range_that_is_given(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 2))
    path = saved(module, tmp_path / "m.pt", "script")
    found = import_file(path, TASK, "torchscript", ImportOptions(action_range=(-0.2, 0.6)))
    with torch.inference_mode():
        expected = (module(torch.from_numpy(OBSERVATIONS)).clamp(-0.2, 0.6).numpy() - 0.2) / 0.4
    np.testing.assert_allclose(found.policy.act(OBSERVATIONS), expected, atol=1e-5)
    assert found.policy.log_std.exp().detach().numpy() == pytest.approx(0.1)


REFUSED = {
    "a convolution": (
        nn.Sequential(nn.Unflatten(1, (1, 7)), nn.Conv1d(1, 2, 7), nn.Flatten(), nn.Tanh()),
        "computes|convolution",
    ),
    "another activation": (nn.Sequential(nn.Linear(7, 8), nn.ELU(), nn.Linear(8, 2)), "computes .*(elu|Elu)"),
    "two kinds of them": (
        nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)),
        "both tanh and ReLU",
    ),
    "two layers without one between": (
        nn.Sequential(nn.Linear(7, 8), nn.Linear(8, 2)),
        "has linear in a place where no Gaussian MLP has it",
    ),
    "a softmax": (nn.Sequential(nn.Linear(7, 2), nn.Softmax(dim=1)), "computes .*oftmax"),
}


@pytest.mark.parametrize("how", ["script", "onnx"])
@pytest.mark.parametrize("case", REFUSED)
def test_other_graphs_are_refused_with_what_they_compute(case, how, tmp_path):
    module, message = REFUSED[case]
    path = saved(module, tmp_path / ("m.onnx" if how == "onnx" else "m.pt"), how)
    with pytest.raises(PolicyImportError, match=message) as caught:
        import_file(path, TASK, None, ImportOptions())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [torchscript.read, onnx.read])
def test_a_file_of_another_kind_is_refused(read, tmp_path):
    (tmp_path / "m").write_text("no graph")
    with pytest.raises(PolicyImportError, match="m: cannot be read as"):
        read(tmp_path / "m", (-1.0, 1.0))


@pytest.mark.parametrize("target", ["onnx", "torchscript"])
@pytest.mark.parametrize(
    "kind",
    [
        {"activation": "tanh", "state_dependent_std": True},
        {"squash": True, "hidden": (8, 8, 8)},
        {"hidden": ()},
        {"observation_limit": UNLIMITED},
    ],
)
def test_an_exported_file_acts_as_the_policy_beyond_the_clip_too(target, kind, tmp_path):
    policy = small_policy(**kind)
    if "observation_limit" not in kind:
        policy.set_normalization(torch.linspace(-1, 1, 7), torch.linspace(0.2, 2, 7))
    save_policy(policy, tmp_path / "p.safetensors", PolicyHeader("BallRun"))
    done = export_policy(tmp_path / "p.safetensors", target, tmp_path / ("p.onnx" if target == "onnx" else "p.pt"))
    assert done.difference < 1e-5
    rows = 20 * OBSERVATIONS
    if target == "onnx":
        session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
        (actions,) = session.run(None, {"observations": rows})
    else:
        with torch.inference_mode():
            actions = torch.jit.load(str(done.path))(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(actions, policy.act(rows), atol=1e-5)
    again = import_file(done.path, TASK, None, ImportOptions())
    np.testing.assert_allclose(again.policy.act(rows), policy.act(rows), atol=1e-5)


def test_the_card_tells_task_thresholds_scores_and_data(tmp_path, capsys):
    source = ZOO / "BallRun" / "finetuned.safetensors"
    assert main(["export", str(source), "--to", "onnx", "-o", str(tmp_path / "ball.onnx")]) == 0
    assert f"{tmp_path / 'ball.onnx.md'}" in capsys.readouterr().out
    card = (tmp_path / "ball.onnx.md").read_text()
    for text in ("# A policy for BallRun", "10, 20, 40", "| cost | 18 |", "data_digest: 0", "## Limits", "ball.onnx"):
        assert text in card


def test_what_was_written_wrongly_is_removed(tmp_path, monkeypatch):
    save_policy(small_policy(), tmp_path / "p.safetensors", PolicyHeader("BallRun"))
    plain = exporting.onnx.write

    def wrong(layers, path):
        actions = plain(layers, path)
        return lambda rows: actions(rows) + np.float32(1e-4)

    monkeypatch.setattr(exporting.onnx, "write", wrong)
    with pytest.raises(PolicyExportError, match=r"acts otherwise, by up to 1\.0e-04"):
        export_policy(tmp_path / "p.safetensors", "onnx", tmp_path / "p.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["p.safetensors"]
