"""The typed configuration of a sweep; YAML in, errors that name the file, the key and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from prefine_ray.core.checked_yaml import YAMLContentError, parse_yaml
from prefine_ray.core.errors import PrefineError
from prefine_ray.core.settings import Positive, Section, Share, odd_numbers
from prefine_ray.methods.bc import BCConfig
from prefine_ray.methods.cpl import CPLConfig
from prefine_ray.methods.prefine.settings import FineTuneConfig, PreferredChoice, _of_kind
from prefine_ray.methods.trac import TraCConfig
from prefine_ray.tasks.spec import BENCHMARK, get_task

Method = Literal["prefine", "sft", "bc_all", "bc_safe", "cpl", "trac"]
# What a task may have of its own: cost thresholds, and settings in these sections.
TaskKey = Literal["thresholds", "data", "preferences", "finetune", "bc", "cpl", "trac"]
CLONED_BASES = ("clone", "bc_all")  # values of `base` that are made from the data
_MAX_SEEDS = 10_000
FIRST_TUNING_SEED = 1000  # where `tuning_seeds` is a number


class ConfigError(PrefineError, ValueError):
    """A configuration file is wrong; the message names the file, the key and what would be right."""


class DataConfig(Section):
    """Where the trajectories come from."""

    # zoo: rolled out from the shipped behaviours; dsrl: the published files; a ladder folder of `prefine pretrain`;
    # or a DSRL-schema file. In paths {task} stands for the task's name.
    source: str = "zoo"
    episodes: Positive = 300  # where they are rolled out: episodes per task
    seed: int = 0  # of the rollouts


class PreferenceConfig(Section):
    """Which trajectories are preferred and which dispreferred; N_p and label noise are axes of the grid."""

    num_preferred: tuple[Positive, ...] = (100,)  # N_p: one number, or several
    num_dispreferred: Positive = 20  # N_np
    # Preferred trajectories cost at most margin * threshold. One value, or one for each kind of them.
    margin: Share | dict[PreferredChoice, Share] = 1.0
    label_noise: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.0,)  # fraction of wrong labels: one, or several
    labels: str | None = None  # CSV or JSON of trajectory ids with labels, for `preferred: [labels]`; {task} allowed

    def margin_of(self, preferred: str) -> float:
        """`margin` for a kind of preferred trajectories."""
        return _of_kind(self.margin, preferred, 1.0)

    @field_validator("num_preferred", "label_noise", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        values = value if isinstance(value, list | tuple) else [value]
        if not values:
            raise ValueError("must not be empty")
        return tuple(values) if any(isinstance(item, dict | list) for item in values) else tuple(dict.fromkeys(values))


MethodSettings = FineTuneConfig | BCConfig | CPLConfig | TraCConfig


class EvaluationConfig(Section):
    """Evaluation episodes, deterministic policy, seeds used nowhere else."""

    episodes: Positive = 20  # per policy


class ResourceConfig(Section):
    """Logical resources; null is computed from the cluster."""

    rollout_actors: Positive | None = None
    gpus_per_worker: Annotated[float, Field(ge=0)] | None = (
        None  # for the Train worker; null: 1 where the cluster has a GPU
    )
    concurrent_trials: Positive | None = None
    # Cells of one task and learner in one Train fit; null: all of them. Raise it for a GPU, as far as its memory goes;
    # lower it to spread a few large fits over many nodes.
    max_population: Positive | None = 96


class SweepConfig(Section):
    """A grid of cells: task x method x preferred x N_p x label noise x threshold x weight x seed."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    seed: int = 0  # the experiment seed, from which all randomness derives
    tasks: tuple[str, ...] = BENCHMARK
    thresholds: Literal["middle", "all"] | tuple[float, ...] = "middle"
    methods: tuple[Method, ...] = ("prefine",)  # weights apply to prefine alone
    preferred: tuple[PreferredChoice, ...] = ("best",)
    weights: tuple[float, ...] = (0.0, 1.0, 5.0, 20.0)  # w; 0, the control, is always among them
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # reported; a number n stands for 0 to n - 1
    # The report picks prefine's weight on these seeds, whose episodes are reported nowhere; a number n stands for
    # 1000 to 1000 + n - 1. Without any it is picked on the reported episodes.
    tuning_seeds: tuple[int, ...] = ()
    # zoo: the shipped base policy; clone: imitates the best unsafe episodes of the data; bc_all: imitates all of
    # them; or a policy file with {task}
    base: str = "zoo"
    data: DataConfig = DataConfig()
    preferences: PreferenceConfig = PreferenceConfig()
    finetune: FineTuneConfig = FineTuneConfig()
    bc: BCConfig = BCConfig()
    cpl: CPLConfig = CPLConfig()
    trac: TraCConfig = TraCConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    resources: ResourceConfig = ResourceConfig()
    # What is otherwise on single tasks, e.g. {CarGoal1: {preferences: {margin: 0.5}, finetune: {keep: 0.4}}}.
    task_settings: dict[str, dict[TaskKey, Any]] = Field(default={})

    @field_validator("tasks", mode="before")
    @classmethod
    def _benchmark(cls, value: Any) -> Any:
        return BENCHMARK if value == "benchmark" else value

    @field_validator("tasks")
    @classmethod
    def _canonical(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(get_task(name).name for name in names))

    @field_validator("seeds", mode="before")
    @classmethod
    def _count(cls, value: Any) -> Any:
        return tuple(range(_seed_count(value))) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("tuning_seeds", mode="before")
    @classmethod
    def _tuning_count(cls, value: Any) -> Any:
        is_count = isinstance(value, int) and not isinstance(value, bool)
        return tuple(range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + _seed_count(value))) if is_count else value

    @field_validator("seeds", "tuning_seeds", "thresholds", "methods", "preferred")
    @classmethod
    def _once(cls, values: Any) -> Any:
        return tuple(dict.fromkeys(values)) if isinstance(values, tuple) else values

    @field_validator("weights")
    @classmethod
    def _control(cls, weights: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= weight < float("inf") for weight in weights):
            raise ValueError("weights must be finite and at least 0")
        return tuple(sorted({0.0, *weights}))

    @model_validator(mode="after")
    def _labels(self) -> SweepConfig:
        if "labels" in self.preferred and not self.preferences.labels:
            raise ValueError("preferred: [labels] needs preferences.labels, a CSV or JSON file of labels")
        for name in ("tasks", "seeds", "preferred", "methods"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        if both := sorted({*self.seeds} & {*self.tuning_seeds}):
            raise ValueError(f"tuning_seeds: {both} are among the reported seeds; the two must not share any")
        return self

    @field_validator("task_settings")
    @classmethod
    def _canonical_keys(cls, by_task: dict[str, Any]) -> dict[str, Any]:
        return {get_task(name).name: sections for name, sections in by_task.items()}

    @model_validator(mode="after")
    def _task_settings_are_valid(self) -> SweepConfig:
        for task in self.task_settings:
            try:
                self.for_task(task)
            except ValidationError as error:
                raise ValueError(f"task_settings.{task}.{_explain(error.errors()[0], type(self))}") from error
        return self

    def for_task(self, task: str) -> SweepConfig:
        """The config with the settings of one task in place of the common ones."""
        content = {**self.model_dump(), "task_settings": {}}
        for key, value in self.task_settings.get(task, {}).items():
            is_section = isinstance(content[key], dict) and isinstance(value, dict)
            content[key] = {**content[key], **value} if is_section else value
        return type(self)(**content)

    @property
    def needs_counterfactual_actors(self) -> bool:
        """Whether actors make the counterfactuals of any task."""
        return any(self.for_task(task).finetune.counterfactuals != "learner" for task in self.tasks)

    def settings(self, method: str) -> MethodSettings:
        """The settings of one method."""
        by_method: dict[str, MethodSettings] = {
            "cpl": self.cpl,
            "trac": self.trac,
            "bc_all": self.bc,
            "bc_safe": self.bc,
        }
        return by_method.get(method, self.finetune)

    def task_thresholds(self, task: str) -> tuple[float, ...]:
        """The cost thresholds of one task."""
        known = get_task(task)
        if self.thresholds == "middle":
            return (known.middle_threshold,)
        return known.thresholds if self.thresholds == "all" else tuple(self.thresholds)


def parse_config(text: str, source: str | Path, overrides: dict[str, Any] | None = None) -> SweepConfig:
    """Checks the YAML text of a sweep's configuration; see `parse_config_as`."""
    return parse_config_as(SweepConfig, text, source, overrides)


def load_config(path: str | Path, overrides: dict[str, Any] | None = None) -> SweepConfig:
    """Reads a sweep's configuration file; see `parse_config_as`."""
    return load_config_as(SweepConfig, path, overrides)


Config = TypeVar("Config", bound=SweepConfig)


def parse_config_as(
    kind: type[Config], text: str, source: str | Path, overrides: dict[str, Any] | None = None
) -> Config:
    """Checks the YAML text of a configuration.

    Args:
        kind: SweepConfig, or a kind of it with more sections.
        text: YAML.
        source: file name for the error messages.
        overrides: what replaces values of the file, by key; keys of a section with dots, as in `finetune.steps`.

    Raises:
        ConfigError: not YAML, an unknown key, or a value of the wrong kind.
    """
    try:
        content = parse_yaml(text)
    except YAMLContentError as error:
        raise ConfigError(f"{source}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: a configuration is a mapping of keys to values, not {type(content).__name__}")
    if odd := [key for key in content if not isinstance(key, str)]:
        raise ConfigError(f"{source}: {odd[0]!r}: every key is a name; known keys: {', '.join(kind.model_fields)}")
    if "search" in content and "search" not in kind.model_fields:
        raise ConfigError(f"{source}: search: this is a search of hyperparameters; run `prefine search {source}`")
    for key, value in (overrides or {}).items():
        _set(content, key, value, source)
    try:
        config = kind(**content)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{source}: {_explain(issue, kind)}" for issue in error.errors())) from error
    if odd := next(odd_numbers(config.model_dump()), None):
        raise ConfigError(f"{source}: {odd[0]}: {odd[1]} is no finite number that can be meant")
    if any(threshold < 0 for threshold in config.thresholds if not isinstance(threshold, str)):
        raise ConfigError(f"{source}: thresholds: costs are 0 or more (got {config.thresholds})")
    return config


def _seed_count(value: int) -> int:
    """A number of seeds that is one, and that fits in memory."""
    if not 0 <= value <= _MAX_SEEDS:
        raise ValueError(f"a number of seeds is at least 1 and at most {_MAX_SEEDS}")
    return value


def _set(content: dict[str, Any], key: str, value: Any, source: str | Path) -> None:
    """Replaces one value of a configuration, or adds it."""
    *sections, last = key.split(".")
    for place, name in enumerate(sections):
        if content.get(name) is None:
            content[name] = {}
        content = content[name]
        if not isinstance(content, dict):
            raise ConfigError(f"{source}: {key}: {'.'.join(sections[: place + 1])} is not a section but {content!r}")
    content[last] = value


def parse_assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """Overrides from `KEY=VALUE` words; a value is YAML.

    Raises:
        ConfigError: a word is of another form, or its value is not YAML.
    """
    overrides = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise ConfigError(f"--set {pair}: KEY=VALUE is needed, e.g. finetune.steps=500")
        try:
            overrides[key] = parse_yaml(value)
        except YAMLContentError as error:
            raise ConfigError(f"--set {pair}: the value is not usable: {error}") from error
    return overrides


def load_config_as(kind: type[Config], path: str | Path, overrides: dict[str, Any] | None = None) -> Config:
    """Reads a configuration file; see `parse_config_as`."""
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a UTF-8 text file: {error}") from error
    return parse_config_as(kind, text, path, overrides)


def dump_config(config: SweepConfig) -> str:
    """The configuration as YAML that `parse_config` reads back to the same."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _explain(issue: Any, kind: type[BaseModel]) -> str:
    """One line for one validation error: the key, what is wrong, what would be right."""
    key = ".".join(str(part) for part in issue["loc"]) or "configuration"
    if issue["type"] != "extra_forbidden":
        message = issue["msg"].removeprefix("Value error, ")
        return f"{key}: {message}" + (f" (got {issue['input']!r})" if issue["type"] != "value_error" else "")
    known = _keys_of(issue["loc"][:-1], kind)
    near = difflib.get_close_matches(str(issue["loc"][-1]), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{key}: unknown key.{hint} Known keys: {', '.join(known)}."


def _keys_of(path: tuple[Any, ...], section: type[BaseModel]) -> list[str]:
    for part in path:
        annotation = section.model_fields[part].annotation
        section = next(
            a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)
        )
    return list(section.model_fields)
