"""What tables say in words: kinds of preferences, and how the best weight was picked."""

from __future__ import annotations

from prefine_ray.analysis.rows import kind_parts
from prefine_ray.analysis.summary import Summary
from prefine_ray.experiment.cells import TUNING

RULE = (
    "Best weight: of the weights above 0 whose upper 95 % limit of the normalised cost is at most 1 (with one seed,"
    " whose mean is), the one of the highest mean reward; if there is none, the weight of the lowest mean cost, marked"
    " as unsafe, or as uncertain where its mean is at most 1."
)
RULE_ABOVE = "Best weight: by the rule under the headline table."
PICKED_ON_REPORTED = "It is picked on the reported episodes themselves, which flatters it."
PICKED_ON_TUNING = "It is picked on tuning seeds; the episodes reported here are others."
PICKED_ON_BOTH = "Some are picked on tuning seeds, the others on the reported episodes themselves, which flatters them."
PUBLISHED_NOTE = (
    "Published numbers are means over DSRL's three thresholds and its data sets, from other policies and seeds than"
    " ours: beside ours for orientation, not as a like-for-like comparison. PREFINE's costs were not to be had."
)
PUBLISHED_SHORT = "Published: the method's own, means over DSRL's three thresholds and its data sets."


def kind_text(kind: str) -> str:
    """How the preferred trajectories of a kind came about, for titles."""
    return preferences(*kind_parts(kind))


def preferences(word: str, size: int = 0, noise: float = 0.0) -> str:
    """How the preferred trajectories came about: "best", "random" or "labels", their number and wrong labels."""
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
