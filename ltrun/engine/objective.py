"""Objective: the loss of a step as one pure function of the streams, from augmentation to terms. The compile boundary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ltrun.engine.accumulation import InParts
from ltrun.engine.distributed import ALONE, Ranks
from ltrun.engine.frozen import Frozen
from ltrun.engine.pieces import Stretch, check_points, mixed_on_the_way
from ltrun.engine.precision import Precision, Scaler
from ltrun.engine.promises import check_batch
from ltrun.errors import ConfigError, TrainingError
from ltrun.loss import expect_shape
from ltrun.parts import Augment, Crop, FeatureMixer, Frames, Mixer, Network, Outcome, Prepare, Term
from ltrun.types import Batch, Outputs, Streams


class Objective(nn.Module):
    """Stored batches by stream -> the value of each term and 'total', the outputs, and the streams as the terms see them.

    crops: stream -> what its store keeps of the files that it reads. fuse: whether a stream's only augmentation and
    `prepare` are one operation, where the augmentation offers it. part: the most images that pass through the network at once,
    None for all. scaler: of the gradients of 'total', for fp16. teachers: frozen networks; outputs have an entry for each that
    a term reads, for stream main.
    """

    scaler: Scaler | None

    def __init__(
        self,
        network: Network,
        prepare: Prepare,
        augments: Mapping[str, Sequence[Augment]],
        mixers: Mapping[str, Mixer],
        terms: Mapping[str, Term],
        weights: Mapping[str, float],
        precision: Precision,
        *,
        crops: Mapping[str, Crop | Frames] | None = None,
        ranks: Ranks = ALONE,
        fuse: bool = False,
        part: int | None = None,
        feature_mixers: Mapping[str, FeatureMixer] | None = None,
        teachers: Mapping[str, Frozen] | None = None,
    ):
        super().__init__()
        self.network, self.prepare, self.weights, self.precision = network, prepare, dict(weights), precision
        self.crops, self.ranks, self.part, self.scaler = dict(crops or {}), ranks, part, precision.scaler()
        self.augments = nn.ModuleDict({name: nn.Sequential(*chain) for name, chain in augments.items()})
        self.mixers, self.terms = nn.ModuleDict(dict(mixers)), nn.ModuleDict(dict(terms))
        chains = {name: chain for name, chain in augments.items() if fuse and len(chain) == 1}
        self.fused = {name: way for name, (augment,) in chains.items() if (way := augment.fused_with(prepare))}
        self.need = list(dict.fromkeys(name for term in terms.values() for name in term.streams))
        self.feature_mixers, self.teachers = nn.ModuleDict(dict(feature_mixers or {})), nn.ModuleDict(dict(teachers or {}))
        check_points(feature_mixers or {}, network)
        self.asked = list(dict.fromkeys(name for term in terms.values() for name in term.teachers))

    def forward(self, streams: Streams) -> Outcome:
        return self.of(self.prepared(streams))

    def prepared(self, streams: Streams) -> Streams:
        """Returns the batches as the network gets them: augmented, prepared and mixed."""
        prepared: Streams = {name: self._prepare(name, batch) for name, batch in streams.items()}
        for mixer in self.mixers.values():
            prepared = mixer(prepared)
            for name, batch in prepared.items():
                check_batch(mixer, batch, f"for stream '{name}'")
        return prepared

    def of(self, prepared: Streams) -> Outcome:
        """Returns values, outputs and streams, as a step does, of batches that are prepared already.

        An update may call it twice on one batch. Feature mixers, and networks with dropout, draw anew each time.
        """
        with self.precision.autocast():
            taught = {name: self._taught(name, prepared["main"]) for name in self.asked}
            further: dict[str, Tensor] = {}
            if self.feature_mixers:
                mixers = self.feature_mixers
                outputs, prepared, further = mixed_on_the_way(self.network, mixers, prepared, self.need, self._passed)
            else:
                outputs = self._passed(self.network, prepared, self.need)
        outputs |= taught
        return self.values(outputs, prepared, further), outputs, prepared

    def _passed(
        self, network: Network | Stretch, streams: Streams, need: Sequence[str], inside: bool = False
    ) -> dict[str, Outputs]:
        return self.ranks.forward(network if self.part is None else InParts(network, self.part), streams, need, inside)

    @torch.no_grad()
    def _taught(self, name: str, batch: Batch) -> Outputs:
        """Returns the outputs of a teacher, in evaluation mode."""
        return self.ranks.predict(cast(Frozen, self.teachers[name]).predict, batch.inputs)

    def values(
        self, outputs: Mapping[str, Outputs], prepared: Streams, further: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Returns the weighted value of each term, the further losses, and their sum as 'total'."""
        device = next(iter(prepared.values())).inputs.device
        values = dict(further or {})
        for name, term in self.terms.items():
            value, weight = expect_shape(term, term(outputs, prepared), torch.Size(), device), self.weights[name]
            values[name] = value if weight == 1 else weight * value
        total = torch.stack(list(values.values())).sum() if len(values) > 1 else value
        total = total if self.scaler is None else self.scaler(total)
        return values | {"total": self.ranks.averaging(total, self)}

    def gradient(self, value: Tensor, inputs: Sequence[Tensor], again: bool = False) -> tuple[Tensor, ...]:
        """Returns the derivatives of a scalar, of the whole batch on every rank; zeros where it does not depend on an input.

        Clear the optimizer's gradients before. again: whether the graph is needed once more.
        """
        found = torch.autograd.grad(value, inputs, retain_graph=again, allow_unused=True, materialize_grads=True)
        return self.ranks.mean(found)

    def check_unscaled(self, update: nn.Module) -> None:
        """Raises ConfigError if the loss is scaled, as with fp16: its gradient is then not the true one."""
        if self.scaler is not None:
            raise ConfigError(
                f"runtime.precision: the loss is scaled with fp16, and {type(update).__name__} needs its true gradient; use "
                "bf16 or fp32"
            )

    def _prepare(self, name: str, batch: Batch) -> Batch:
        if name in self.fused:
            return self.fused[name](batch)
        stored = batch.inputs.dtype
        for augment in cast(nn.Sequential, self.augments[name]):
            batch = augment(batch)
            check_batch(augment, batch, f"for stream '{name}'")
            if batch.inputs.dtype != stored:
                raise TrainingError(f"{type(augment).__name__} returns {batch.inputs.dtype}, where {stored} is needed")
        return batch.replace(inputs=self.prepare(batch.inputs))
