"""Passage of streams through a network piece by piece, with feature mixers between the pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ltrun.backbone import INPUTS
from ltrun.engine.promises import check_batch
from ltrun.errors import ConfigError
from ltrun.loss import expect_shape
from ltrun.parts import FeatureMixer, Network
from ltrun.types import Outputs, Streams

Send = Callable[["Stretch", Streams, Sequence[str], bool], dict[str, Outputs]]


class Stretch:
    """The pieces of a network between two places, called as a network is called. end: None for the outputs.

    Maps are the `features` of its outputs, with the dimension of rows in front.
    """

    def __init__(self, network: Network, start: str, end: str | None):
        self.network, self.start, self.end = network, start, end

    def modules(self) -> Iterator[nn.Module]:
        return self.network.modules()

    def __call__(self, streams: Streams, need: Sequence[str]) -> dict[str, Outputs]:
        return {name: self._pass(streams[name].inputs) for name in need}

    def _pass(self, maps: Tensor) -> Outputs:
        passed = self.start == INPUTS
        if self.start == "features":
            maps = maps.movedim(0, -2)
        for place, piece in self.network.pieces():
            if passed:
                maps = piece(maps)
            passed = passed or place == self.start
            if place == self.end:
                return Outputs(features=maps.movedim(-2, 0) if place == "features" else maps)
        return self.network.decide(maps)


def places_of(network: Network) -> list[str]:
    """Returns the places at which feature mixers may act, in order."""
    return [INPUTS, *(place for place, _ in network.pieces())]


def check_points(mixers: Mapping[str, FeatureMixer], network: Network) -> None:
    """Raises ConfigError for a feature mixer at a place that the network does not have."""
    places = places_of(network)
    for name, mixer in mixers.items():
        if not mixer.points:
            raise ConfigError(f"feature_mixers.{name}: {type(mixer).__name__} acts nowhere; give it a place of the network")
        for point in mixer.points:
            if point not in places:
                raise ConfigError(
                    f"feature_mixers.{name}: {type(mixer).__name__} acts at '{point}', a place that this network does not have"
                    f"; its places are {', '.join(places)}"
                )


def mixed_on_the_way(
    network: Network, mixers: nn.ModuleDict, streams: Streams, need: Sequence[str], send: Send
) -> tuple[dict[str, Outputs], Streams, dict[str, Tensor]]:
    """Returns the outputs, the streams with mixed labels, and the further losses of the mixers by `mixer_loss`.

    send: passes streams through a stretch, on several devices or in parts, and is told whether it ends inside. The inputs of
    the streams become the last maps.
    """
    further: dict[str, Tensor] = {}
    start = INPUTS
    acting = {name: cast(FeatureMixer, mixer) for name, mixer in mixers.items()}
    for place in places_of(network):
        here = {name: mixer for name, mixer in acting.items() if place in mixer.points}
        if not here:
            continue
        if place != INPUTS:
            wanted = [*need, *(stream for mixer in acting.values() for stream in mixer.streams)]
            inside = [name for name in dict.fromkeys(wanted) if name in streams]
            found = send(Stretch(network, start, place), streams, inside, True)
            streams = {name: streams[name].replace(inputs=found[name].need("features")) for name in inside}
        for name, mixer in here.items():
            streams, losses = mixer(streams, place)
            for stream, batch in streams.items():
                check_batch(mixer, batch, f"for stream '{stream}' at '{place}'")
            scalars = {key: expect_shape(mixer, value, torch.Size(), batch.inputs.device) for key, value in losses.items()}
            further |= {f"{name}_{key}": value for key, value in scalars.items()}
        start = place
    return send(Stretch(network, start, None), streams, need, False), streams, further
