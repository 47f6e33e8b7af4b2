"""Groups of parameters with learning rates of their own: rates by name, layer decay, and weight decay without biases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from torch import nn

from ltrun.errors import ConfigError, did_you_mean

BLOCK = re.compile(r"(layer\d+\.\d+|(stages|layers)\.\d+(\.blocks\.\d+)?|blocks\.\d+|trunk\.\d+(?=\.\w+\.))\.")
TOKENS = ("cls_token", "dist_token", "reg_token", "mask_token", "pos_embed")  # of vision transformers, which have no norms


@dataclass(frozen=True)
class Group:
    """Parameters with one learning rate. rows: their places among all trained parameters. factor: of the optimizer's rate.

    decays: whether the optimizer's weight decay applies to them.
    """

    parameters: list[nn.Parameter]
    rows: list[int]
    factor: float = 1.0
    decays: bool = True


def check_rates(lr: float, weight_decay: float, clip: float | None, rates: Mapping[str, float] | None) -> None:
    """Raises ConfigError for values that no optimizer takes."""
    if lr <= 0:
        raise ConfigError(f"lr must be above 0, got {lr}")
    if weight_decay < 0:
        raise ConfigError(f"weight_decay must not be negative, got {weight_decay}")
    if clip is not None and clip <= 0:
        raise ConfigError(f"clip must be above 0, or null for no clipping, got {clip}")
    for pattern, factor in (rates or {}).items():
        if factor <= 0:
            raise ConfigError(f"rates must be above 0, got {factor} for '{pattern}'; `trainable` of a stage freezes parameters")


def groups_of(
    parameters: Mapping[str, nn.Parameter],
    every: Sequence[str] = (),
    rates: Mapping[str, float] | None = None,
    layer_decay: float | None = None,
    decay_norms: bool = True,
) -> list[Group]:
    """Returns the groups of the trained parameters, the one with the highest rate first.

    parameters: by name. every: the names of all parameters, frozen ones included. rates: pattern over names -> factor of the
    rate; the first that matches counts. layer_decay: factor from each level to the one below, see `levels_of`. decay_norms:
    whether weight decay applies to parameters with at most one dimension, such as norms and biases, and to tokens.
    Raises ConfigError for a pattern that matches no name, and for layer_decay where names say nothing of layers.
    """
    names = [own(name) for name in every or parameters]
    for pattern in rates or {}:
        if not any(fnmatch(name, pattern) for name in names):
            raise ConfigError(f"rates must match parameters of the network, '{pattern}' matches none{_nearest(pattern, names)}")
    levels = {} if layer_decay is None else levels_of(names)
    found: dict[tuple[float, bool], Group] = {}
    for row, (full, parameter) in enumerate(parameters.items()):
        name = own(full)
        factor = next((factor for pattern, factor in (rates or {}).items() if fnmatch(name, pattern)), 1.0)
        if layer_decay is not None:
            factor *= layer_decay ** (max(levels.values()) - levels[name])
        decays = decay_norms or not (parameter.dim() <= 1 or name.rpartition(".")[2] in TOKENS)
        group = found.setdefault((factor, decays), Group([], [], factor, decays))
        group.parameters.append(parameter)
        group.rows.append(row)
    return sorted(found.values(), key=lambda group: -group.factor) or [Group([], [])]


def own(name: str) -> str:
    """Returns the name by which patterns know a parameter: the network's parameters without `network.`, as in `trainable`."""
    return name.removeprefix("network.")


def levels_of(names: Sequence[str]) -> dict[str, int]:
    """Returns the level of each parameter, given the names in the order of the network: 0 for what comes before the first
    block, such as stem, patch embedding and tokens; one level more for each block; and the highest for all else, such as the
    last norm, projectors and heads. Blocks are `layerN.M` (ResNet), `blocks.N` (ViT), `stages.N.blocks.M` (ConvNeXt),
    `layers.N.blocks.M` (Swin), or blocks of a forked trunk. Blocks at one depth of several branches share a level.

    Bao et al., 2021 (BEiT), arXiv 2106.08254. Raises ConfigError if no name has a block.
    """
    blocks: dict[str, int] = {}
    for name in names:
        if (block := _block(name)) is not None:
            blocks.setdefault(block, 1 + len(blocks))
    if not blocks:
        raise ConfigError(
            "layer_decay needs parameters named by blocks (layerN.M, blocks.N, stages.N.blocks.M), which this network lacks; "
            "leave it out, or give `rates`"
        )
    found, begun = {}, False
    for name in names:
        block = _block(name)
        begun = begun or block is not None
        found[name] = blocks[block] if block is not None else 1 + len(blocks) if begun else 0
    return found


def _block(name: str) -> str | None:
    """Returns the block of a parameter, without the number of its branch; None outside of blocks."""
    match = BLOCK.search(re.sub(r"branches\.\d+\.", "branches.", name))
    return None if match is None else match.string[: match.end()]


def _nearest(pattern: str, names: Sequence[str]) -> str:
    """Names the parts of names, such as `backbone.layer1`, that are nearest to a pattern."""
    steps = [name.split(".") for name in names]
    prefixes = {".".join(some[:n]) for some in steps for n in range(1, len(some) + 1)}
    return did_you_mean(pattern.strip("*.?"), sorted(prefixes))
