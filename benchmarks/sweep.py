"""How much of a sweep's core-seconds is work, and how much is orchestration.

    python -m benchmarks.sweep quick --tasks BallRun HopperVelocity --json sweep.json
    python -m benchmarks.sweep paper

The work is what the same cells take in one process without Ray, imports not counted: collecting and cloning, training
every pack, evaluating every policy. It is run first. Then `prefine sweep` runs in an empty folder, and the CPU time of
all its processes is added up. Orchestration is what is left; `of core-seconds` is that of wall-clock time x cores, idle
cores included, and means something on an otherwise idle machine only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.measure import cores, machine, markdown_table, use_one_thread_per_process
from benchmarks.process_tree import Usage, run_watched
from prefine_ray.core.files import file_digest
from prefine_ray.data.hdf5 import write_dsrl
from prefine_ray.experiment.cells import Cell, base_cells, make_cells, make_packs
from prefine_ray.experiment.config import CLONED_BASES, SweepConfig, dump_config, load_config
from prefine_ray.experiment.job import CurveRecorder, TrainingJob, make_learner
from prefine_ray.experiment.replicates import TaskInputs, shared_inputs
from prefine_ray.methods.base import base_policy, clone_base, clone_name
from prefine_ray.methods.gaussian_cloning import CloneConfig
from prefine_ray.orchestration.evaluation import evaluation_parts, evaluation_unit
from prefine_ray.policies.files import load_policy, save_policy
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.rollouts.collection import assemble, behaviours, plan_units, recipe_digest
from prefine_ray.rollouts.rollout import rollout_copies, run_unit
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import BENCHMARK, get_task

QUICK = Path(__file__).parent.parent / "tune_configs" / "quick.yaml"
PAPER_TENTH = {  # of ten tasks x three thresholds x six weights x five seeds: 90 of 900 cells
    "name": "paper-tenth",
    "tasks": ["BallRun", "HopperVelocity", "CarGoal1"],
    "thresholds": "middle",
    "weights": [0, 0.5, 1, 2, 5, 20],
    "seeds": 5,
    "base": "clone",
    "preferences": {"num_preferred": 50, "num_dispreferred": 10},
    "finetune": {"steps": 500},
    "evaluation": {"episodes": 20},
}


class Work:
    """The cells of a config in this process, CPU seconds by kind of work."""

    def __init__(self, config: SweepConfig, directory: Path):
        self._config, self._directory = config, directory
        self.cpu_s: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def _counted(self, kind: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self.cpu_s[kind] += time.process_time() - started

    def run(self) -> None:
        """All of it."""
        for name in self._config.tasks:
            with self._counted("collect"):
                data, digest = self._collect(name)
            with self._counted("base policy"):
                base = self._base(name, data, digest)
            inputs = {name: shared_inputs(str(data), digest, str(base), file_digest(base))}
            config = self._config.model_copy(update={"tasks": (name,)})
            self._evaluate_base(config, inputs)
            for pack in make_packs(make_cells(config, inputs), set(), config.resources.max_population):
                self._train(TrainingJob(pack, inputs[name]))

    def _collect(self, name: str) -> tuple[Path, str]:
        task, config = get_task(name), self._config.data
        chosen = behaviours(task, config.source)
        digest = recipe_digest(task, config, chosen)
        path = self._directory / f"{name}-{config.episodes}-{digest}.hdf5"
        units = plan_units(task, config, chosen)
        stepper = VectorStepper(task, units[0].copies)
        parts = [run_unit(unit, stepper) for unit in units]
        stepper.close()
        write_dsrl(path, assemble(task, config, parts, len(chosen)), {"task": name, "recipe": digest})
        return path, digest

    def _base(self, name: str, data: Path, digest: str) -> Path:
        task, config, choice = get_task(name), CloneConfig(), self._config.base
        if choice not in CLONED_BASES:
            return base_policy(task, choice)
        path = self._directory / clone_name(task, digest, self._config.seed, config, choice)
        policy, header = clone_base(task, data, self._config.seed, config, choice)
        save_policy(policy, path, header)
        return path

    def _evaluate_base(self, config: SweepConfig, inputs: dict[str, TaskInputs]) -> None:
        cells = base_cells(config, inputs)
        policy = load_policy(inputs[cells[0].task].of(cells[0].seed).base_path)
        self._evaluate(cells, [policy] * len(cells))

    def _train(self, job: TrainingJob) -> None:
        with self._counted("train"):
            learner = make_learner(job)
            learner.train(job.pack.settings.steps, CurveRecorder(job.pack))
        policies = learner.policies()
        self._evaluate(job.pack.cells, [policies.select(index) for index in range(len(job.pack.cells))])

    def _evaluate(self, cells: Sequence[Cell], policies: Sequence[GaussianPolicy]) -> None:
        task, episodes = cells[0].task, cells[0].episodes
        with self._counted("evaluate"):
            for part in evaluation_parts(len(cells), episodes, rollout_copies(task), cores()):
                unit = evaluation_unit(cells[part], policies[part])
                stepper = VectorStepper(task, unit.copies)
                run_unit(unit, stepper)
                stepper.close()


def sweep_usage(config: SweepConfig, directory: Path) -> Usage:
    """What `prefine sweep` takes for a config, from empty folders.

    Raises:
        RuntimeError: it failed; the message has the end of its output.
    """
    path, log = directory / "config.yaml", directory / "log.txt"
    path.write_text(dump_config(config))
    folders = ["--results", str(directory / "results"), "--data-dir", str(directory / "data")]
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    usage = run_watched([sys.executable, "-m", "prefine_ray", "sweep", str(path), *folders], environment, log)
    if usage.status:
        raise RuntimeError(f"prefine sweep ended with status {usage.status}:\n{log.read_text()[-4000:]}")
    return usage


def measure(config: SweepConfig) -> dict[str, Any]:
    """The work, the sweep, and their difference."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "plain").mkdir()
        work = Work(config, folder / "plain")
        work.run()
        usage = sweep_usage(config, folder)
    useful, core_seconds = sum(work.cpu_s.values()), usage.wall_s * cores()
    return {
        "config": config.model_dump(mode="json"),
        "work_cpu_s": dict(work.cpu_s),
        "sweep_wall_s": usage.wall_s,
        "sweep_cpu_s": usage.cpu_s,
        "processes": usage.processes,
        "orchestration_of_cpu": 1.0 - useful / usage.total_cpu_s,
        "orchestration_of_core_seconds": 1.0 - useful / core_seconds,
    }


def text(result: dict[str, Any]) -> str:
    """The numbers as two tables and a line."""
    work = markdown_table(["work", "CPU s"], [[k, f"{v:.1f}"] for k, v in result["work_cpu_s"].items()])
    sweep = markdown_table(
        ["process", "CPU s", "started"],
        [
            [kind, f"{seconds:.1f}", str(result["processes"].get(kind, ""))]
            for kind, seconds in result["sweep_cpu_s"].items()
            if seconds >= 0.5
        ],
    )
    useful, total = sum(result["work_cpu_s"].values()), sum(result["sweep_cpu_s"].values())
    return (
        f"{work}\n\n{sweep}\n\n"
        f"work {useful:.0f} CPU s; sweep {total:.0f} CPU s in {result['sweep_wall_s']:.0f} s on {cores()} cores; "
        f"orchestration {result['orchestration_of_cpu']:.0%} of CPU time, "
        f"{result['orchestration_of_core_seconds']:.0%} of core-seconds"
    )


def configs() -> dict[str, Callable[[dict[str, Any]], SweepConfig]]:
    """The configs by name: from changes to their top-level keys."""
    return {
        "quick": lambda changes: load_config(QUICK, changes),
        "paper": lambda changes: SweepConfig(**{**PAPER_TENTH, **changes}),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", choices=list(configs()), help="quick.yaml, or a tenth of a paper-sized grid")
    parser.add_argument("--tasks", nargs="+", metavar="T", choices=BENCHMARK)
    parser.add_argument("--set", default="{}", metavar="YAML", help="other top-level keys, such as '{seeds: 2}'")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all numbers")
    given = parser.parse_args(arguments)
    use_one_thread_per_process()
    torch.set_num_threads(1)
    changes = {**yaml.safe_load(given.set), **({"tasks": given.tasks} if given.tasks else {})}
    report = {"machine": machine(), **measure(configs()[given.config](changes))}
    print(f"{report['machine']}\n\n{text(report)}")
    if given.json:
        given.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
