"""Pre-trained weights of a configuration: an address counts their SHA-256, and not the path at which they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ltrun.config.values import mapping
from ltrun.taxonomy import NETWORK_KEYS

if TYPE_CHECKING:
    from ltrun.config.bind import Bound
    from ltrun.parts import Backbone


def backbone_of(config: Mapping[str, Any], plugins: Sequence[str] = ()) -> Bound[Backbone]:
    """Binds the network of a resolved configuration, without the keys that other options read. Raises ConfigError."""
    from ltrun.config.bind import bind  # needs torch, which composing does without
    from ltrun.parts import Backbone

    node = mapping(config.get("network"), "network")
    return bind({key: value for key, value in node.items() if key not in NETWORK_KEYS}, "network", Backbone, plugins)


def resolve_weights(config: Mapping[str, Any], plugins: Sequence[str] = ()) -> None:
    """Adds network.sha256, the first digits of the SHA-256 of network.weights, and makes their path absolute; those of a run of
    ltrun get `run:` before it.

    Published weights that are not here have the digits of their file's name, or are fetched if network.download says so; an
    address counts the names of others. Raises ConfigError for weights other than a network.sha256 that is already there.
    """
    node = config.get("network")
    if not isinstance(node, dict) or node.get("weights") is None:
        return
    from ltrun.network import run_weights, weights  # need torch

    backbone = backbone_of(config, plugins)
    given, published = str(node["weights"]), backbone.target.published(backbone.arguments)
    if given not in published and (model := run_weights.model_of(given, str(config.get("outputs", "")))):
        given = str(model)
    digits = weights.digits_of(given, published)
    path = weights.located(given, published)
    if path is None and digits is None and node.get("download"):
        path = weights.find(given, published, download=True)
    if path is not None:
        digits = weights.agreed(weights.sha256(path), node.get("sha256"), path)
        if given not in published:
            node["weights"] = run_weights.marked(path)
    if digits is not None:
        node["sha256"] = digits
