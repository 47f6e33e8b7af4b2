"""The groups of the configuration: taxonomy family = Python package = Hydra group = slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STAGE_SLOTS = (
    "resampling", "reweighting", "margin", "logit_adjustment", "augmentation", "representation", "classifier", "ensemble",
)  # fmt: skip  # slots of every stage, in the order in which they contribute
SLOTS = (*STAGE_SLOTS, "decoupling", "posthoc")
SETTINGS = ("network", "optimizer", "schedule")
GROUPS = ("method", "dataset", *SLOTS, *SETTINGS)
MERGING = ("augmentation", "posthoc")  # groups that take several options at once
NETWORK_SLOTS = ("classifier", "ensemble")  # slots whose modules train on from stage to stage
DATASET_KEYS = ("name", "inert", "augments", "prepare")  # read by ltrun; the others are arguments of its class
NETWORK_KEYS = ("cut",)  # read by other options, as ${network.cut}; the others are arguments of its class
NOT_ARGUMENTS = {"dataset": DATASET_KEYS, "network": NETWORK_KEYS}


def emptied(stage: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the slots whose option a stage drops: with `base: plain`, all but NETWORK_SLOTS and the slots in `keep`."""
    kept = stage.get("keep")
    going_on = (*NETWORK_SLOTS, *(kept if isinstance(kept, (list, tuple)) else ()))
    return tuple(slot for slot in STAGE_SLOTS if slot not in going_on) if stage.get("base") == "plain" else ()
