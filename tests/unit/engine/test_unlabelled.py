"""Streams of unlabelled images: the rows that they draw, and the images that a part opens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ltrun.targets import one_label
from ltrun.types import Outputs, Streams, View
from tests.support.cases import changed, composed, normaliser, trainer
from tests.support.training import Recorder, Some, node, with_term


class Pool(Recorder):
    """Checks that the streams hold unlabelled images, also where a part opens them."""

    streams = ("main", "weak", "strong")
    stored: Tensor

    def __init__(self, *, unlabelled: int) -> None:
        super().__init__()
        self.register_buffer("stored", torch.zeros(unlabelled, 1, 8, 8), persistent=False)

    def adapt(self, view: View) -> None:
        self.stored.copy_(view.open(torch.arange(len(self.stored)), split="unlabelled").inputs)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        for name in ("weak", "strong"):
            rows, inputs = streams[name].rows, streams[name].inputs
            assert torch.equal(normaliser()(self.stored[rows].to(torch.uint8)), inputs)
            assert not one_label(streams[name].targets).index.any()
        return super().forward(outputs, streams)


def test_a_stream_of_the_unlabelled_images_draws_their_rows(tmp_path: Path) -> None:
    Recorder.seen = []
    streams = {"weak": {"sampler": node(Some, length=80), "split": "unlabelled"}, "strong": {"of": "weak"}}
    composition = changed(composed(), dataset__augments={})
    sampler = {"sampler": node(Some, length=70)}
    recipe = with_term(node(Pool), composition, resampling=sampler, ensemble={"streams": streams}, epochs=1)
    trainer(recipe, tmp_path, batch_size=70).run()
    (found,) = Recorder.seen
    assert found == {"main": [*range(70)], "weak": [*range(70)], "strong": [*range(70)]}
