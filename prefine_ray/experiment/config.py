"""The typed configuration of a sweep; YAML in, errors that name the file, the key and what would be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from prefine_ray.core.checked_yaml import YAMLContentError, parse_yaml
from prefine_ray.core.errors import PrefineError
from prefine_ray.core.paths import absolute_template
from prefine_ray.core.settings import MethodSettings, OneOrSeveral, Positive, Section, Share, odd_numbers
from prefine_ray.experiment.axes import axes
from prefine_ray.experiment.config_errors import explain, unknown_key
from prefine_ray.experiment.own_tasks import add_defined
from prefine_ray.methods.registry import get_method, sections
from prefine_ray.rollouts.collection import SOURCES, DataConfig
from prefine_ray.rollouts.conditions import get_condition
from prefine_ray.tasks.definition import TaskDefinition
from prefine_ray.tasks.registration import own_definitions
from prefine_ray.tasks.spec import BENCHMARK, get_task

CLONED_BASES = ("clone", "bc_all")  # values of `base` that are made from the data
_MAX_SEEDS = 10_000
_OTHERS = {  # keys of other kinds of configurations, what these are, and the command that takes them
    "search": "a search of hyperparameters; run `prefine search",
    "answers": "a study with simulated raters; run `prefine labels study",
}
Seed = Annotated[int, Field(ge=0)]
FIRST_TUNING_SEED = 1000  # where `tuning_seeds` is a number


class ConfigError(PrefineError, ValueError):
    """A configuration file is wrong; the message names the file, the key and what would be right."""


class LabelRule(Section):
    """Which trajectories are labelled preferred and which dispreferred: the only reader of costs and returns."""

    num_dispreferred: Positive = 20  # N_np
    margin: Share = 1.0  # preferred trajectories cost at most margin * threshold
    # CSV or JSON of trajectory ids with labels, or CSV of pairs, for `preferred: labels`; relative to the working
    # directory, {task} allowed
    labels: Annotated[str, AfterValidator(absolute_template)] | None = None


class PreferenceConfig(LabelRule):
    """The label rule, and two axes of the grid."""

    num_preferred: OneOrSeveral[Positive] = (100,)  # N_p: one number, or several
    label_noise: OneOrSeveral[Annotated[float, Field(ge=0, le=1)]] = (0.0,)  # fraction of wrong labels: one, or several

    @property
    def rule(self) -> LabelRule:
        """Without the axes."""
        return LabelRule(**{name: getattr(self, name) for name in LabelRule.model_fields})


class EvaluationConfig(Section):
    """Evaluation episodes, deterministic policy, seeds used nowhere else."""

    episodes: Positive = 20  # per policy
    # Other conditions that the same episodes are run again under, e.g. [reused, noise1]: those of
    # `prefine_ray.rollouts.conditions`. They do not belong to a cell's name: with more of them, finished cells are
    # evaluated again, not trained again.
    conditions: tuple[str, ...] = ()

    @field_validator("conditions")
    @classmethod
    def _known_conditions(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(get_condition(name).name for name in names if name))


class ResourceConfig(Section):
    """Logical resources; null is computed from the cluster."""

    rollout_actors: Positive | None = None  # of the whole sweep
    # For the Train worker; null: 1 where the cluster has a GPU.
    gpus_per_worker: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    concurrent_trials: Positive | None = None  # at most
    # Cells of one task and learner in one Train fit; null: all of them. Raise it for a GPU, as far as its memory goes;
    # lower it to spread a few large fits over many nodes.
    max_population: Positive | None = 96


def counted_from(first: int) -> BeforeValidator:
    """A number n stands for n seeds from `first` on."""

    def listed(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return value if any(isinstance(item, dict | list) for item in value) else tuple(dict.fromkeys(value))
        if not isinstance(value, int) or isinstance(value, bool):
            return value
        if not 0 <= value <= _MAX_SEEDS:
            raise ValueError(f"a number of seeds is at least 1 and at most {_MAX_SEEDS}")
        return tuple(range(first, first + value))

    return BeforeValidator(listed)


class SweepConfig(Section):
    """A grid of cells. Beside these keys there is one for each axis, and a section for each method's settings.

    The whole model is that of `config_type`; `make_config` makes one in Python.
    """

    # Of the sweep, in MLflow and in the folder results/NAME.
    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)
    seed: Annotated[int, Field(ge=0)] = 0  # the experiment seed, from which all randomness derives
    data: DataConfig = DataConfig()
    # Own tasks by name (see docs/own-task.md), with the keys of `TaskDefinition`.
    task_definitions: dict[str, TaskDefinition] = Field(default={})
    tasks: OneOrSeveral[str] = BENCHMARK  # names of `prefine tasks`, or benchmark for its ten
    methods: OneOrSeveral[str] = ("prefine",)  # what is trained
    # Reported; a number n stands for 0 to n - 1.
    seeds: Annotated[tuple[Seed, ...], counted_from(0), Field(min_length=1)] = (0, 1, 2, 3, 4)
    # The report picks prefine's weight on these seeds, whose episodes are reported nowhere; a number n stands for
    # 1000 to 1000 + n - 1. Without any it is picked on the reported episodes.
    tuning_seeds: Annotated[tuple[Seed, ...], counted_from(FIRST_TUNING_SEED)] = ()
    # zoo: the shipped base policy; clone: imitates the best unsafe episodes of the data; bc_all: imitates all of
    # them; or a policy file, relative to the working directory, {task} allowed
    base: str = "zoo"
    base_steps: Positive = 3000  # gradient steps of cloned base policies
    preferences: PreferenceConfig = PreferenceConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    resources: ResourceConfig = ResourceConfig()
    # Values that single tasks have instead, e.g. {CarRun: {thresholds: [10, 20]}}.
    task_settings: dict[str, dict[str, Any]] = Field(default={})

    @field_validator("task_definitions")
    @classmethod
    def _registered(cls, given: dict[str, TaskDefinition], info: ValidationInfo) -> dict[str, TaskDefinition]:
        source = info.data["data"].source if "data" in info.data else ""
        return {name: add_defined(name, definition, source) for name, definition in given.items()}

    @field_validator("tasks", mode="before")
    @classmethod
    def _benchmark(cls, value: Any) -> Any:
        return BENCHMARK if value == "benchmark" else value

    @field_validator("tasks")
    @classmethod
    def _canonical(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "task_definitions" not in info.data:  # they are wrong, and that is told
            return names
        return tuple(dict.fromkeys(get_task(name).name for name in names))

    @field_validator("base")
    @classmethod
    def _base(cls, value: str) -> str:
        return value if value in ("zoo", *CLONED_BASES) else absolute_template(value)

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(get_method(name).name for name in names)

    @field_validator("task_settings")
    @classmethod
    def _canonical_keys(cls, by_task: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "task_definitions" not in info.data:
            return by_task
        return {get_task(name).name: _with_absolute_paths(content) for name, content in by_task.items()}

    @model_validator(mode="after")
    def _task_settings_are_valid(self) -> SweepConfig:
        allowed = {"data", "preferences", *sections(), *(axis.key for axis in axes().values() if "." not in axis.key)}
        for task, content in self.task_settings.items():
            for key in content:
                if key not in allowed:
                    raise ValueError(unknown_key(f"task_settings.{task}.{key}", key, sorted(allowed)))
            own = self.task_definitions.get(task)
            if own is not None and own.reward_from_data and "source" in (content.get("data") or {}):
                raise ValueError(
                    f"task_settings.{task}.data.source: reward_range: data reads the common data.source, in which "
                    "{task} may stand for the task's name; or give [low, high]"
                )
            try:
                self.for_task(task)
            except ValidationError as error:
                raise ValueError(f"task_settings.{task}.{explain(error.errors()[0], type(self))}") from error
        return self

    @model_validator(mode="after")
    def _whole(self) -> SweepConfig:
        if "labels" in self.axis_values("preferred", self.tasks[0]):
            self._check_labels()
        if both := sorted({*self.seeds} & {*self.tuning_seeds}):
            raise ValueError(f"tuning_seeds: {both} are among the reported seeds; the two must not share any")
        if self.needs_counterfactual_actors:
            self._check_whole_stretches()
        return self

    def _check_labels(self) -> None:
        if not self.preferences.labels:
            raise ValueError("preferred: labels needs preferences.labels, a CSV or JSON file of labels")
        if self.data.source == "zoo" and self.data.draws != "shared":
            raise ValueError(
                f"data.draws: labels are of the episodes of one data set, and with {self.data.draws!r} seeds have "
                "others; write shared, or name the file that was labelled in data.source"
            )

    def _check_whole_stretches(self) -> None:
        for name in self.methods:
            advanced = self.settings(name).advanced.model_dump()
            every = advanced.get("refresh_every")
            if every and advanced["checkpoint_every"] % every:
                section = f"{get_method(name).section}.advanced"
                raise ValueError(
                    f"{section}.checkpoint_every must be a multiple of {section}.refresh_every where actors make "
                    "counterfactuals"
                )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its values: the type is put together from the records that are registered."""
        kind = type(self).__bases__[0] if type(self) in _TYPES.values() else type(self)
        return _unpickled, (kind, {**self.model_dump(), "task_definitions": self.definitions})

    def for_task(self, task: str) -> SweepConfig:
        """The config with the values of one task in place of the common ones; the grid asks for it, nothing else."""
        content = {**self.model_dump(), "task_settings": {}}
        for key, value in self.task_settings.get(task, {}).items():
            is_section = isinstance(content[key], dict) and isinstance(value, dict)
            content[key] = _merged(content[key], value) if is_section else value
        return type(self)(**content)

    def axis_values(self, name: str, task: str) -> tuple[Any, ...]:
        """The values of an axis for one task, without what `task_settings` says (see `for_task`)."""
        axis, value = axes()[name], self
        for part in axis.key.split("."):
            value = getattr(value, part)
        return axis.of_task(value, task)

    def settings(self, method: str) -> MethodSettings:
        """The settings of one method."""
        return getattr(self, get_method(method).section)

    @property
    def definitions(self) -> dict[str, TaskDefinition]:
        """The definition of every own task of `tasks`, wherever it was registered: what other processes need."""
        return own_definitions(self.tasks)

    @property
    def needs_counterfactual_actors(self) -> bool:
        """Whether actors make counterfactuals for any cell."""
        of_tasks = [self, *(self.for_task(task) for task in self.task_settings if task in self.tasks)]
        values = {value for config in of_tasks for value in config.axis_values("counterfactuals", self.tasks[0])}
        return any(values & {*get_method(name).modes} for name in self.methods)


Config = TypeVar("Config", bound=SweepConfig)
Checked = TypeVar("Checked", bound=BaseModel)
_TYPES: dict[tuple[Any, ...], type[SweepConfig]] = {}


def config_type(kind: type[Config]) -> type[Config]:
    """`kind` with a key for each axis, and a section for each method's settings."""
    fields: dict[str, Any] = {a.key: (a.kind, a.default) for a in axes().values() if "." not in a.key}
    fields |= {section: (settings, settings.model_validate({})) for section, settings in sections().items()}
    known = (kind, *axes().values(), *sections().items())
    if known not in _TYPES:
        _TYPES[known] = create_model(kind.__name__, __base__=kind, **fields)
    return _TYPES[known]  # type: ignore[return-value]


def _unpickled(kind: type[Config], content: dict[str, Any]) -> Config:
    return config_type(kind)(**content)


def make_config(**content: Any) -> SweepConfig:
    """A sweep's configuration in Python; keys as in a file.

    Raises:
        pydantic.ValidationError: an unknown key, or a value of the wrong kind.
    """
    return config_type(SweepConfig)(**content)


def parse_config(text: str, source: str | Path, overrides: dict[str, Any] | None = None) -> SweepConfig:
    """Checks the YAML text of a sweep's configuration; see `parse_config_as`."""
    return parse_config_as(SweepConfig, text, source, overrides)


def load_config(path: str | Path, overrides: dict[str, Any] | None = None) -> SweepConfig:
    """Reads a sweep's configuration file; see `parse_config_as`."""
    return load_config_as(SweepConfig, path, overrides)


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
    content, whole = parse_mapping(text, source), config_type(kind)
    for key, command in _OTHERS.items():
        if key in content and key not in kind.model_fields:
            raise ConfigError(f"{source}: {key}: this is {command} {source}`")
    for key, value in (overrides or {}).items():
        _set(content, key, value, source)
    return validated(whole, content, source)


def parse_mapping(text: str, source: str | Path) -> dict[str, Any]:
    """The keys and values of the YAML text of a configuration.

    Raises:
        ConfigError: not YAML, or no mapping with names as keys.
    """
    try:
        content = parse_yaml(text)
    except YAMLContentError as error:
        raise ConfigError(f"{source}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: a configuration is a mapping of keys to values, not {type(content).__name__}")
    if odd := [key for key in content if not isinstance(key, str)]:
        raise ConfigError(f"{source}: {odd[0]!r}: every key is a name")
    return content


def validated(kind: type[Checked], content: Mapping[str, Any], source: str | Path) -> Checked:
    """A configuration of these keys and values.

    Raises:
        ConfigError: an unknown key, or a value of the wrong kind; a line for each.
    """
    try:
        config = kind(**content)
    except ValidationError as error:
        lines = dict.fromkeys(explain(issue, kind) for issue in error.errors())
        raise ConfigError("\n".join(f"{source}: {line}" for line in lines)) from error
    for key, number in odd_numbers(config.model_dump()):
        raise ConfigError(f"{source}: {key}: {number} is no finite number that can be meant")
    return config


def _set(content: dict[str, Any], key: str, value: Any, source: str | Path) -> None:
    """Replaces one value of a configuration, or adds it."""
    *parts, last = key.split(".")
    for place, name in enumerate(parts):
        if content.get(name) is None:
            content[name] = {}
        content = content[name]
        if not isinstance(content, dict):
            raise ConfigError(f"{source}: {key}: {'.'.join(parts[: place + 1])} is not a section but {content!r}")
    content[last] = value


def _with_absolute_paths(content: dict[str, Any]) -> dict[str, Any]:
    """The values of one task with the paths among them made absolute, as those of the common sections are."""
    made = dict(content)
    for section, key, words in (("data", "source", SOURCES), ("preferences", "labels", ())):
        own = made.get(section)
        if isinstance(own, dict) and isinstance(own.get(key), str) and own[key] not in words:
            made[section] = {**own, key: absolute_template(own[key])}
    return made


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The common content of a section with single values replaced, in sections within it too."""
    nested = {
        k: _merged(common[k], v) for k, v in own.items() if isinstance(v, dict) and isinstance(common.get(k), dict)
    }
    return {**common, **own, **nested}


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
    return parse_config_as(kind, config_text(path), path, overrides)


def config_text(path: str | Path) -> str:
    """The text of a configuration file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return Path(path).read_text()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a UTF-8 text file: {error}") from error


def has_key(path: Path, key: str) -> bool:
    """Whether a configuration file can be read and has this key; what is wrong is said by who loads it."""
    try:
        return key in parse_mapping(config_text(path), path)
    except ConfigError:
        return False


def dump_config(config: SweepConfig) -> str:
    """The configuration as YAML that `parse_config` reads back to the same, with the definitions of all own tasks."""
    definitions = {name: definition.model_dump(mode="json") for name, definition in config.definitions.items()}
    content = {**config.model_dump(mode="json"), "task_definitions": definitions}
    return yaml.safe_dump(content, sort_keys=False)
