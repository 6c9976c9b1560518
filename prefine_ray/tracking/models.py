"""The picked policies of a sweep as MLflow's logged models, and in its registry.

`mlflow.pyfunc.load_model` loads them with mlflow, torch and this package alone; no pickle is involved: the model's data
is the policy's safetensors file, and `prefine_ray.tracking.pyfunc` reads it.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prefine_ray.core.checked_json import parse_json
from prefine_ray.core.files import file_digest, read_bytes
from prefine_ray.core.provenance import installed_version
from prefine_ray.results.folder import ResultsDir

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

_LOADER = "prefine_ray.tracking.pyfunc"
_MAX_BYTES = 2**24  # of headline.json
_CELL, _POLICY = "prefine.cell", "prefine.policy"  # tags


@dataclass(frozen=True)
class Headline:
    """What `prefine report` says of a sweep in numbers; both empty where there is no report."""

    values: dict[str, float]
    policies: list[dict[str, Any]]  # the picked ones: task, preferred, threshold, weight, cell, safety

    @classmethod
    def read(cls, results: ResultsDir) -> Headline:
        """The content of tables/headline.json; a missing or damaged one says nothing."""
        try:
            content = parse_json(read_bytes(results.headline_path, _MAX_BYTES))
            values = {str(name): float(value) for name, value in content["values"].items()}
            policies = [dict(policy) for policy in content["policies"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls({}, [])
        return cls(values, [policy for policy in policies if results.policy_path(str(policy.get("cell"))).exists()])


@dataclass(frozen=True)
class Models:
    """The logged models of one sweep in one experiment of a store."""

    client: MlflowClient
    experiment: str  # id

    def log(self, policy: dict[str, Any], path: Path, run: str) -> LoggedModel:
        """The logged model of a picked policy, made unless it is there; one half made is replaced.

        Args:
            policy: of `Headline.policies`.
            path: its file.
            run: id of the cell's run.
        """
        from mlflow.entities import LoggedModelOutput

        from prefine_ray.policies.files import load_policy  # here: it loads torch

        sizes = load_policy(path).architecture
        tags = {_CELL: policy["cell"], _POLICY: file_digest(path)}
        for found in self._find(policy["cell"]):
            if found.status == "READY" and found.tags.get(_POLICY) == tags[_POLICY]:
                return found
            self.client.delete_logged_model(found.model_id)
        params = {key: str(value) for key, value in policy.items()}
        model = self.client.create_logged_model(
            self.experiment, model_name(policy), run, tags, params, model_type="policy"
        )
        with tempfile.TemporaryDirectory() as folder:
            _save(Path(folder) / "model", path, sizes.obs_dim, sizes.act_dim, model.model_id)
            self.client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
        self.client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])
        return self.client.finalize_logged_model(model.model_id, "READY")

    def register(self, policy: dict[str, Any], prefix: str) -> str:
        """Makes a logged model a version of the registered model `PREFIX-<its name>`; the name and version.

        Raises:
            LookupError: the policy has no logged model yet.
        """
        from mlflow.exceptions import MlflowException

        found = self._find(policy["cell"])
        if not found:
            raise LookupError(f"{policy['cell']}: no logged model; the sweep has to end first")
        name = f"{prefix}-{model_name(policy)}"
        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        model = found[0]
        for version in self.client.search_model_versions(f"name = '{name}'"):
            if version.source == model.artifact_location:
                return f"{name} version {version.version}"
        made = self.client.create_model_version(
            name, model.artifact_location, model.source_run_id, {_CELL: policy["cell"]}, model_id=model.model_id
        )
        return f"{name} version {made.version}"

    def _find(self, cell: str) -> Sequence[LoggedModel]:
        return self.client.search_logged_models([self.experiment], f"tags.`{_CELL}` = '{cell}'")


def model_name(policy: dict[str, Any]) -> str:
    """A picked policy's name, such as "BallRun-best-40-20"; MLflow takes no `/ : . % " '` in it."""
    text = f"{policy['task']}-{policy['preferred']}-{float(policy['threshold']):g}"
    return "".join(letter if letter.isalnum() or letter == "-" else "_" for letter in text)


def _save(folder: Path, policy: Path, observations: int, actions: int, model_id: str) -> None:
    """Writes a policy as an MLflow model: [N, obs_dim] float32 observations to [N, act_dim] float32 actions."""
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    inputs, outputs = (Schema([TensorSpec(np.dtype(np.float32), (-1, size))]) for size in (observations, actions))
    needed = [f"{name}=={installed_version(name)}" for name in ("prefine-ray", "torch")]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*An input example was not provided")  # the signature is exact
        pyfunc.save_model(
            str(folder),
            loader_module=_LOADER,
            data_path=str(policy),
            mlflow_model=Model(model_id=model_id),
            signature=ModelSignature(inputs, outputs),
            pip_requirements=needed,
        )
