"""Network of one backbone and one classifier that normalises generated images apart, by DAR-BN."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ltrun.network import dar_norm
from ltrun.network.plain import classify
from ltrun.parts import Backbone, Head, Network
from ltrun.types import Batch, Outputs, Streams


class Routed(Network):
    """A plain network whose batch normalisations are DAR-BN: they see which rows of a batch are generated.

    The flag is `Batch.generated`; a batch without it passes as through a plain network, as every batch does at test time. The
    images behind the flag reach the classifier, and no weight before the last batch normalisation. Each rank, and each part
    of an accumulated batch, normalises its own rows, unless runtime.sync_bn joins them. It costs more than torch's layers,
    which cannot be told to leave rows out.

    Zada et al., 2021, arXiv 2112.08810.
    """

    def __init__(self, *, backbone: Backbone, make_head: Callable[[int], Head]):
        super().__init__()
        dar_norm.use(backbone)
        self.backbone = backbone
        self.head = make_head(backbone.features)

    def encode(self, inputs: Tensor) -> Tensor:
        return self.backbone(inputs)

    def decide(self, features: Tensor) -> Outputs:
        return classify(self.head, features)

    def forward(self, streams: Streams, need: Sequence[str]) -> dict[str, Outputs]:
        return {name: self._pass(streams[name]) for name in need}

    def _pass(self, batch: Batch) -> Outputs:
        dar_norm.route(self.backbone, batch.generated)
        try:
            return self.predict(batch.inputs)
        finally:
            dar_norm.route(self.backbone, None)
