"""Preprocessing of pre-trained networks: their normalisation replaces the data set's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from ltrun.backbone import Preprocessing
from ltrun.config.bind import Bound, public_name
from ltrun.data.prepare import Normalise
from ltrun.errors import ConfigError
from ltrun.network import weights
from ltrun.parts import Backbone, Prepare
from ltrun.recipe.stage import Recipe


def preprocessing_of(backbone: Bound[Backbone]) -> Preprocessing | None:
    """Returns the preparation of images that the network's weights expect; None without pre-trained weights."""
    return backbone.target.preprocessing(backbone.arguments)


def pretrained_prepare(backbone: Bound[Backbone], prepare: Bound[Prepare]) -> Bound[Prepare]:
    """Returns the data set's `prepare` with the mean and std that the network's weights expect.

    Another preparation than Normalise stays: its author knows what it gives the network.
    """
    wanted = preprocessing_of(backbone)
    if wanted is None or prepare.target is not Normalise:
        return prepare
    return replace(prepare, arguments={**prepare.arguments, "mean": list(wanted.mean), "std": list(wanted.std)})


def pretrained_otherwise(recipe: Recipe, prepare: Bound[Prepare]) -> Iterator[str]:
    """Yields warnings where a recipe differs from its pre-trained weights. prepare: the data set's own."""
    wanted = preprocessing_of(recipe.backbone)
    if wanted is not None:
        yield from _normalised_otherwise(wanted, prepare)
    arguments = recipe.backbone.arguments
    if arguments.get("weights") is not None:
        yield from _narrower(recipe)
    elif arguments.get("frozen") is not None or arguments.get("hold_statistics"):
        yield (
            "network.frozen and network.hold_statistics are for pre-trained weights, and network.weights is null: the whole "
            "network trains; give weights, or set network.frozen=null network.hold_statistics=false"
        )


def _normalised_otherwise(wanted: Preprocessing, prepare: Bound[Prepare]) -> Iterator[str]:
    mean, std = (tuple(prepare.arguments.get(name, ())) for name in ("mean", "std"))
    if prepare.target is Normalise and (mean, std) != (wanted.mean, wanted.std):
        yield (
            f"network.weights: the weights expect images normalised by mean {_spelled(wanted.mean)} and std "
            f"{_spelled(wanted.std)}, which replace dataset.prepare's {_spelled(mean)} and {_spelled(std)}"
        )


def _narrower(recipe: Recipe) -> Iterator[str]:
    for stage in recipe.stages[:1]:
        width = stage.network.arguments.get("width", 1)
        widths = width if isinstance(width, list | tuple) else [width]
        if "after" in stage.network.arguments and any(each != 1 for each in widths):
            yield (
                f"{stage.network.path}.width={width}: branches of {public_name(stage.network.target)} that are narrower than "
                "the network start untrained; give width 1 for branches with its pre-trained weights"
            )


def pretrained_elsewhere(backbone: Bound[Backbone], shape: torch.Size) -> Iterator[str]:
    """Yields what differs where the weights were trained: the size of the images, and a classifier that is left out.

    shape: of an input. Raises ConfigError for images with another number of channels.
    """
    wanted = preprocessing_of(backbone)
    if wanted is None:
        return
    if len(shape) == 3 and len(wanted.mean) != shape[0]:
        raise ConfigError(
            f"network.weights: the weights are for images of {len(wanted.mean)} channels, and those of the data set have "
            f"{shape[0]}; set network.weights=null"
        )
    if len(shape) == 3 and set(shape[1:]) != {wanted.size}:
        yield (
            f"images of {shape[1]} x {shape[2]} pixels: the weights of the network were trained on {wanted.size} x "
            f"{wanted.size}; give dataset.image_size={wanted.size} for images of that size"
        )
    file = weights.file_for(backbone.target, backbone.arguments)
    found = weights.classifier_of(weights.read(file)) if file else None
    if file and found:
        name, classes = found
        yield (
            f"network.weights: the classifier in {file.name} ({name}, {classes:,} classes) is left out; this run's own starts "
            "untrained"
        )


def without_weights(recipe: Recipe) -> Recipe:
    """Returns the recipe without the weights that its network began with, where trained ones replace them."""
    changed = {"weights": None, "sha256": None, "download": False}
    arguments = {name: changed.get(name, value) for name, value in recipe.backbone.arguments.items()}
    return replace(recipe, backbone=replace(recipe.backbone, arguments=arguments))


def _spelled(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in values)
