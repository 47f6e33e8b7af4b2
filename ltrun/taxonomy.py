"""The groups of the configuration: taxonomy family = Python package = Hydra group = slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STAGE_SLOTS = (
    "resampling", "reweighting", "margin", "logit_adjustment", "augmentation", "representation", "classifier", "ensemble",
)  # fmt: skip  # what every stage has, in the order in which they contribute
SLOTS = (*STAGE_SLOTS, "decoupling", "posthoc")
SETTINGS = ("network", "optimizer", "schedule")
GROUPS = ("method", "dataset", *SLOTS, *SETTINGS)
MERGING = ("augmentation", "posthoc")  # groups that take several options at once
NETWORK_SLOTS = ("classifier", "ensemble")  # what they build is trained on from stage to stage
DATASET_KEYS = ("name", "inert", "augments", "prepare")  # ltrun's own; the others are arguments of its class


def emptied(stage: Mapping[str, Any]) -> tuple[str, ...]:
    """Slots whose option of the run ends before a stage: if its base is plain, all but NETWORK_SLOTS and those in `keep`."""
    kept = stage.get("keep")
    going_on = (*NETWORK_SLOTS, *(kept if isinstance(kept, (list, tuple)) else ()))
    return tuple(slot for slot in STAGE_SLOTS if slot not in going_on) if stage.get("base") == "plain" else ()
