"""What an update works with: the loss of a step as a function, and the optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from ltrun.types import Outputs, Streams

Outcome = tuple[dict[str, Tensor], dict[str, Outputs], Streams]
"""The value of each term and 'total', the outputs by stream, and the streams as the terms saw them."""


class Objective(Protocol):
    """The loss of a step. Called with batches as stored, it returns an outcome, as `of` does after `prepared`."""

    @property
    def network(self) -> nn.Module: ...

    def __call__(self, streams: Streams, /) -> Outcome: ...

    def prepared(self, streams: Streams) -> Streams:
        """Returns the batches as the network gets them: augmented, prepared and mixed."""

    def of(self, prepared: Streams) -> Outcome:
        """Returns the outcome of prepared batches; an update may pass one batch twice, each time with other weights."""

    def values(self, outputs: Mapping[str, Outputs], prepared: Streams) -> dict[str, Tensor]:
        """Returns the value of each term and 'total', for outputs that are known already."""

    def gradient(self, value: Tensor, inputs: Sequence[Tensor], again: bool = False) -> tuple[Tensor, ...]:
        """Returns the derivatives of a scalar, of the whole batch on every rank; zeros where it does not depend on an input.

        Clear the optimizer's gradients before. again: whether the graph is needed once more.
        """

    def check_unscaled(self, update: nn.Module) -> None:
        """Raises ConfigError if the loss is scaled, as with fp16: its gradient is then not the true one."""


class Descent(Protocol):
    """Moves the parameters along their gradients, as a torch.optim.Optimizer does.

    param_groups: mappings with 'params' and 'lr'. An lr that is a tensor is written in place, so that a captured step sees it.
    An optimizer for fp16 also has an attribute `scaling`: see `Scaling` in ltrun/optimizer/base.py.
    """

    param_groups: list[dict[str, Any]]

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def step(self) -> object: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...
