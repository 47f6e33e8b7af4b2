"""Predictors x evaluation splits -> metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ltrun.engine.precision import Precision
from ltrun.engine.turns import wait_for_device, yield_turn
from ltrun.network.fold import folded
from ltrun.parts import Augment, Evidence, Network, PostHoc, Store
from ltrun.types import Outputs, seed_of


class SplitEvidence:
    """One split through one network, in evaluation mode and without gradient; outputs come to the CPU.

    hidden: the labels are not to be looked at, as for test inputs.
    """

    def __init__(
        self,
        network: Network,
        normalise: Any,
        augment: Augment | Any,
        store: Store,
        batch_size: int,
        seed: int,
        precision: Precision,
        hidden: bool = False,
    ):
        self.network, self.normalise, self.augment, self.store = network, normalise, augment, store
        self.precision = precision
        self.batch_size, self.seed, self.hidden = batch_size, seed, hidden
        self.clean: Outputs | None = None

    @property
    def labels(self) -> Tensor:
        if self.hidden:
            raise PermissionError("a post-hoc part may see test inputs, never test labels")
        return self.store.targets.primary.cpu()

    def outputs(self, augment: bool = False, epoch: int = 0) -> Outputs:
        if augment:
            return self._run(epoch)
        if self.clean is None:
            self.clean = self._run(None)
        return self.clean

    @torch.no_grad()
    def _run(self, epoch: int | None) -> Outputs:
        if epoch is not None:
            torch.manual_seed(seed_of(self.seed, "augmented evaluation", epoch))
        network, found = folded(self.network), []
        for batch in self.store.open(torch.arange(len(self.store)).split(self.batch_size)):
            batch = batch if epoch is None else self.augment(batch)
            with self.precision.autocast():
                found.append(network.predict(self.normalise(batch.inputs)))
            yield_turn()
        wait_for_device(self.precision.device)
        return Outputs.concatenate(found).map(lambda tensor: tensor.cpu())


def fit(part: PostHoc, evidence: Mapping[str, Evidence]) -> None:
    """Shows a post-hoc part what it declares to see, and nothing else."""
    part.fit({name: evidence[name] for name in part.sees})
