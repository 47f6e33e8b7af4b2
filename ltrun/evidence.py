"""Evidence: what a post-hoc part may see of a split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from ltrun.types import Outputs

EVIDENCE = frozenset({"train", "val", "test_inputs"})  # splits that a post-hoc part may see


class Evidence(Protocol):
    """One split as a post-hoc part sees it: the fields of Outputs that the part's `reads` names, without gradient, on the host.
    augment: augments inputs as in training, with a new draw each epoch.
    """

    def batches(self, augment: bool = False, epoch: int = 0) -> Iterator[Outputs]:
        """Yields the split in order, batch by batch, without keeping it in memory."""

    def outputs(self, augment: bool = False, epoch: int = 0) -> Outputs:
        """Returns the whole split in order, all of it in memory."""

    @property
    def labels(self) -> Tensor:
        """`Targets.labels` of all N rows; raises PermissionError on test inputs."""
