"""The groups of the configuration: taxonomy family = Python package = Hydra group = slot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

STAGE_SLOTS = (
    "resampling", "reweighting", "margin", "logit_adjustment", "augmentation", "transfer", "representation", "classifier",
    "ensemble", "regularization",
)  # fmt: skip  # slots of every stage, in the order in which they contribute
SLOTS = (*STAGE_SLOTS, "decoupling", "posthoc")
SETTINGS = ("network", "optimizer", "schedule")
GROUPS = ("method", "dataset", *SLOTS, *SETTINGS)
MERGING = ("augmentation", "posthoc")  # groups that take several options at once
NETWORK_SLOTS = ("classifier", "ensemble")  # slots whose modules train on from stage to stage
DATASET_KEYS = (
    "name",
    "task",
    "inert",
    "augments",
    "prepare",
    "superclasses",
)  # read by ltrun; the others are arguments of its class
NETWORK_KEYS = ("cut",)  # read by other options, as ${network.cut}; the others are arguments of its class
NOT_ARGUMENTS = {"dataset": DATASET_KEYS, "network": NETWORK_KEYS}

CONTEXT = {
    "stats": "ClassStats of the training set",
    "num_classes": "int",
    "in_channels": "int: channels of an image",
    "input_shape": "torch.Size: of one input as stored, such as (channels, H, W)",
    "channels_last": "bool: whether the channels of a pixel lie side by side in memory, as runtime.channels_last says",
    "classify": "Classification: the run's margin, logit adjustment and weights as one loss",
    "backbone": "Backbone: the network group's choice",
    "make_head": "(features) -> Head: the classifier group's choice",
    "features": "int: D, the length of the features that a head or a projector receives, or of Outputs.features",
    "head": "Head: the head trained so far, for a classifier that wraps it",
    "network": "Network in training, which a part may call but not change",
    "teachers": "mapping of names to the frozen Networks of the stage",
    "prepare": "Prepare: inputs as stored to inputs of the network",
    "sampler": "Sampler of stream main",
    "samplers": "mapping of streams to their Samplers",
    "random_crops": "bool: whether training cuts whole photographs at random, for a data set",
    "reads_unlabelled": "bool: whether training reads unlabelled images, for a data set",
    "device_decodes": "bool: whether the CUDA device decodes photographs, as runtime.decode says, for a data set",
    "task": "str: whether images have one label, 'single_label', or several, 'multi_label', for a data set",
    "unlabelled": "int: number of unlabelled images",
    "outer": "list of parameters of the parts with `outer`, for the update that learns them",
    "parameter_names": "list of str: names of all parameters, for an optimizer, which gets those that the stage trains",
}
"""Names of what ltrun injects into constructors of parts -> its type and meaning."""


def emptied(stage: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the slots whose option a stage drops: with `base: plain`, all but NETWORK_SLOTS and the slots in `keep`."""
    kept = stage.get("keep")
    going_on = (*NETWORK_SLOTS, *(kept if isinstance(kept, (list, tuple)) else ()))
    return tuple(slot for slot in STAGE_SLOTS if slot not in going_on) if stage.get("base") == "plain" else ()


def teachers_in(config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the key path and the node of each teacher in the slots of a run and of its stages."""
    stages = config.get("stages")
    places = {"": config} | {f"stages.{name}.": node for name, node in (stages if isinstance(stages, Mapping) else {}).items()}
    for place, node in places.items():
        for slot in STAGE_SLOTS if isinstance(node, Mapping) else ():
            option = node.get(slot)
            teachers = option.get("teachers") if isinstance(option, Mapping) else None
            for name, teacher in teachers.items() if isinstance(teachers, Mapping) else ():
                if isinstance(teacher, dict):
                    yield f"{place}{slot}.teachers.{name}", teacher
