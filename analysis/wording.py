"""What tables say in words: definitions, kinds of preferences, and how the best weight was picked."""

from __future__ import annotations

from collections.abc import Iterable

from prefine_ray.analysis.rows import Coverage, further_text, kind_parts
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.tables.cells import NOTHING
from prefine_ray.experiment.cells import TUNING
from prefine_ray.tasks.spec import get_task

RULE = (
    "Best weight: of the weights above 0 whose upper 95 % limit of the normalised cost is at most 1 (with one seed,"
    " whose mean is), under the plain condition and under every other that all weights were evaluated under, the one of"
    " the highest mean reward; if there is none, the weight of the lowest mean cost."
)
NOISE_AND_REUSE = (
    "Noise is Gaussian, in per cent of the standard deviation by which the policy's own normalisation divides each"
    " observed number. Reused: the evaluation episodes of a policy run one after the other in one simulator, as in"
    " upstream's environments; in tasks of Safety-Gymnasium and in own ones nothing is carried over: there the numbers"
    " are the plain ones."
)
RULE_ABOVE = "Best weight: by the rule under the headline table."
PICKED_ON_REPORTED = "It is picked on the reported episodes themselves, which flatters it."
PICKED_ON_TUNING = "It is picked on tuning seeds; the episodes reported here are others."
PICKED_ON_BOTH = "Some are picked on tuning seeds, the others on the reported episodes themselves, which flatters them."
PUBLISHED_NOTE = (
    "Published numbers are means over DSRL's three thresholds and its data sets, from other policies and seeds than"
    " ours: beside ours for orientation, not as a like-for-like comparison. PREFINE's costs are unavailable."
)
PUBLISHED_SHORT = "Published: the method's own, means over DSRL's three thresholds and its data sets."


def kind_text(kind: str) -> str:
    """How the preferred trajectories of a kind were chosen, for titles."""
    further = further_text(kind)
    return preferences(*kind_parts(kind)) + (f"; {further}" if further else "")


def preferences(word: str, size: int = 0, noise: float = 0.0) -> str:
    """How the preferred trajectories were chosen: "best", "random" or "labels", their number and wrong labels."""
    number = f"{size} " if size else ""
    known = {"best": f"the {number}best safe trajectories", "random": f"{number}random safe trajectories"}
    text = {**known, "labels": "given labels", "": "not recorded"}.get(word, word)
    return text + (f", {noise:.0%} wrong labels" if noise else "")


def titled(text: str, summary: Summary, variant: str) -> str:
    """A title, with the kind of preferences where the summary tells several."""
    return text if len(summary.variants) == 1 else f"{text}; preferred: {kind_text(variant)}"


def picked_on(summary: Summary, variant: str) -> str:
    """On which episodes the best weights were picked."""
    picked = set(summary.choices.loc[summary.choices["preferred"] == variant, "picked_on"])
    if TUNING not in picked:
        return PICKED_ON_REPORTED if picked else ""
    return PICKED_ON_TUNING if picked == {TUNING} else PICKED_ON_BOTH


_COVERED = {  # by how the data are drawn, see `Coverage`
    "own": "each with a data set of its own",
    "overlapping": "each with two thirds of one data set: as these overlap, they cover less than fresh sets would",
    "shared": "which share one data set, so that they do not cover another draw of the data",
}


def interval_note(coverage: Coverage) -> str:
    """What the intervals are, and what they cover."""
    base = (
        "its own base policy"
        if coverage.own_base
        else "one base policy for all, so that they do not cover another one (the base policy's own interval covers its"
        " evaluation episodes alone)"
    )
    covered = f"replicates (seeds), {_COVERED[coverage.draws]}; its own preferences, training and evaluation; {base}"
    return (
        f"[low, high] is a 95 % interval over {covered}. Student's t for a task's mean; for averages over tasks the"
        " jackknife, one seed of all tasks left out at a time. Where costs are rare and large, a few seeds may miss"
        " them, and no interval shows it."
    )


def own_tasks_note(tasks: Iterable[str]) -> str:
    """Which rewards 0 and 1 of own tasks are, and where these come from; "" without any."""
    parts = []
    for task in map(get_task, tasks):
        if task.definition is not None:
            of_data = "the lowest and highest return of the data" if task.definition.reward_from_data else "as defined"
            parts.append(f"{task.name} R_min {task.reward_min:.4g}, R_max {task.reward_max:.4g} ({of_data})")
    return f" Own tasks: {'; '.join(parts)}." if parts else ""


def definitions(coverage: Coverage) -> tuple[str, ...]:
    """What the words and numbers of the tables mean; see `interval_note`."""
    return (
        "Reward is DSRL's normalised reward, (R - R_min) / (R_max - R_min); cost is the normalised cost, C / threshold."
        " R and C are undiscounted sums over an episode, averaged over a seed's evaluation episodes, then over seeds.",
        interval_note(coverage),
        "Safe: the upper limit of the mean normalised cost is at most 1; unsafe: its lower limit is above 1; uncertain:"
        " the interval contains 1, or there is none because there is one seed.",
        "Violations: the share of episodes whose cost is over the threshold. Catastrophes: the share of episodes whose"
        " cost is over twice the threshold, or that the simulator ended because the agent fell.",
        f"Fewer violations (catastrophes): 1 - rate / rate of the reference; negative means more, {NOTHING} that the"
        f" reference has none. Reward kept: reward / reward of the reference, {NOTHING} where that is not positive.",
        "Weight 0 is the control: supervised fine-tuning alone, on the preferred trajectories that the"
        " selection leaves. SFT is the same on all of them.",
        "BC-All and BC-Safe imitate all trajectories of the data, or all under the threshold, from fresh weights;"
        " CPL-KL (arXiv 2310.13639) and TraC (arXiv 2412.15429) train fresh weights on the same preferred and"
        " dispreferred trajectories as PREFINE. The number of gradient steps of each is in trials.parquet.",
    )
