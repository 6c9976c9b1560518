"""What early stopping saves: the same search with and without it, in one process, counted in steps and CPU seconds.

    python -m benchmarks.early_stopping CONFIG --data FILE --base FILE [--results DIR]

CPU seconds are of this process, so that other work on the machine does not count. The fixed price of a Ray Train fit
(its processes and imports), which every trial pays, is not in them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from prefine_ray.analysis.search.outcomes import stops
from prefine_ray.analysis.search.table import read_search
from prefine_ray.core.files import file_digest
from prefine_ray.experiment.job import CurveRecorder, TrainingJob, make_learner
from prefine_ray.experiment.replicates import TaskInputs, shared_inputs
from prefine_ray.experiment.search_config import SearchConfig, load_search_config
from prefine_ray.experiment.search_trials import Rungs, SearchTrial, make_trial
from prefine_ray.orchestration.search.rounds import RoundSearch
from prefine_ray.orchestration.search.rows import reference_rows, write_pack
from prefine_ray.orchestration.training import TrainedPack
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.results.folder import ResultsDir
from prefine_ray.rollouts.evaluation import episode_rows, evaluate, evaluation_seeds
from prefine_ray.simulators import VectorStepper


@dataclass
class Spent:
    """Sums over a search."""

    steps: int = 0  # gradient steps of packs
    training_s: float = 0.0  # CPU
    evaluation_s: float = 0.0


class LocalSearch:
    """A search without Ray: the same suggestions, training and decisions as `prefine search`."""

    def __init__(self, config: SearchConfig, inputs: TaskInputs, root: Path):
        self.config, self.inputs, self.results, self.spent = config, inputs, ResultsDir(root), Spent()
        self.stepper = VectorStepper(config.tasks[0], config.evaluation.episodes)

    def run(self) -> Spent:
        """All trials, one after the other."""
        of = {self.config.tasks[0]: self.inputs}
        searcher = RoundSearch(self.config, partial(make_trial, self.config, inputs=of), self.results)
        while isinstance(answer := searcher.suggest(f"trial-{len(searcher.trials)}"), dict):
            self._run_trial(**answer)
            searcher.on_trial_complete(f"trial-{len(searcher.trials) - 1}", {})
        return self.spent

    def _run_trial(self, number: int, trial: SearchTrial, cutoffs: dict[str, float], rungs: Rungs) -> None:
        [pack] = trial.packs
        job = TrainingJob(pack, self.inputs)
        references = reference_rows(job)
        needed = {int(step): score for step, score in cutoffs.items()}
        started, evaluated = time.process_time(), self.spent.evaluation_s
        learner, recorder, seen = make_learner(job), CurveRecorder(pack), pd.DataFrame()
        for stop in (*rungs.steps, pack.settings.steps):
            learner.train(stop, recorder)
            seen = pd.concat([seen, self._look(job, learner.policies(), stop)], ignore_index=True)
            if stops(seen, references, needed):
                break
        took = time.process_time() - started - (self.spent.evaluation_s - evaluated)
        trained = TrainedPack(learner.policies(), recorder.frame(), took, learner.step, seen)
        write_pack(self.results, number, trial, job, trained, references)
        self.spent.steps += learner.step
        self.spent.training_s += took
        print(f"  trial {number}: {learner.step} steps, {took:.1f} CPU s, {trial.values}", flush=True)

    def _look(self, job: TrainingJob, policies: GaussianPolicy, step: int) -> pd.DataFrame:
        started, rows = time.process_time(), []
        for index, cell in enumerate(job.pack.cells):
            seeds = evaluation_seeds(self.config.seed, cell.task, cell.seed, self.config.evaluation.episodes)
            table = evaluate(policies.select(index), self.stepper, seeds)
            rows += [row | {"step": step} for row in episode_rows(cell.identity, "finetuned", table)]
        self.spent.evaluation_s += time.process_time() - started
        return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="of a search with early_stopping: asha")
    parser.add_argument("--data", type=Path, required=True, help="a DSRL-schema file")
    parser.add_argument("--base", type=Path, required=True, help="the base policy")
    parser.add_argument("--results", type=Path, help="keeps the rows here (default: nowhere)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = load_search_config(options.config)
    inputs = shared_inputs(str(options.data), file_digest(options.data), str(options.base), file_digest(options.base))
    lines = ["| early stopping | gradient steps | training, CPU s | evaluation, CPU s | best safe reward | its cost |"]
    lines.append("|" + "---|" * 6)
    for kind in (None, "asha"):
        print(f"early_stopping: {kind}", flush=True)
        search = config.search.model_copy(update={"early_stopping": kind})
        with tempfile.TemporaryDirectory() as folder:
            root = (options.results or Path(folder)) / str(kind)
            local = LocalSearch(config.model_copy(update={"search": search}), inputs, root)
            spent = local.run()
            best = read_search(local.results, local.config).best
        assert best is not None
        scores = f"{best['normalized_reward']:.2f} | {best['normalized_cost']:.2f}"
        lines.append(f"| {kind} | {spent.steps} | {spent.training_s:.0f} | {spent.evaluation_s:.0f} | {scores} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
