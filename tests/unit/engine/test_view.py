"""View between epochs: the augmentation of a part's own stream."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ltrun.parts import Augment, Term
from ltrun.types import Batch, Outputs, Streams, View
from tests.support.cases import trainer
from tests.support.training import N, node, with_term


class Brighter(Augment):
    def forward(self, batch: Batch) -> Batch:
        return batch.replace(inputs=batch.inputs.clamp(max=254) + 1)


class Looking(Augment):
    """Adds 2 to each pixel, and notes what augmentation makes of black images when it is asked between epochs."""

    found: ClassVar[list[float]] = []

    def forward(self, batch: Batch) -> Batch:
        return batch.replace(inputs=batch.inputs.clamp(max=253) + 2)

    def adapt(self, view: View) -> None:
        batch = view.open(torch.arange(4))
        Looking.found.append(float(view.augment(batch.replace(inputs=0 * batch.inputs)).inputs.double().mean()))


class Both(Term):
    streams = ("main", "copy")

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        return 0 * torch.stack([outputs[name].need("logits").sum() for name in self.streams]).sum()


def test_a_part_augments_as_its_own_stream_does(tmp_path: Path) -> None:
    Looking.found = []
    copy = {"brighter": node(Brighter), "look": node(Looking), "again": node(Brighter)}
    main = {"brighter": node(Brighter), "look": node(Looking)}
    recipe = with_term(
        node(Both), epochs=1, ensemble={"streams": {"copy": {"of": "main", "augments": copy}}}, dataset__augments=main
    )
    trainer(recipe, tmp_path, batch_size=N).run()
    assert sorted(Looking.found) == [3, 4]
