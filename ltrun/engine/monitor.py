"""Monitor of an epoch's losses, and of the first output that is not finite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ltrun.errors import TrainingError
from ltrun.numerics import finite
from ltrun.types import Clock, Outputs

NEVER = 2**62


class LossMonitor:
    """Adds up an epoch's losses on the device and remembers the first step with an output that is not finite.

    terms: names of the objective's terms. streams: names of the streams that pass through the network. before, after: parts
    that run before and after the network. Their outputs are checked too, so that the message names the part and not only its
    term. All tensors are updated in place, so that a captured step keeps counting.
    """

    def __init__(
        self,
        terms: Iterable[str],
        streams: Iterable[str],
        before: Sequence[nn.Module] = (),
        after: Sequence[nn.Module] = (),
        device: torch.device | None = None,
    ) -> None:
        self.terms = [*terms, "total"]
        places = [_part(part) for part in before], [_network(name) for name in streams], [_part(part) for part in after]
        self.places = list(dict.fromkeys([name for names in places for name in names] + [_term(name) for name in self.terms]))
        self.sums = torch.zeros(len(self.terms), dtype=torch.float64, device=device)
        self.first_bad = torch.full((len(self.places),), NEVER, device=device)
        self.step = torch.zeros((), dtype=torch.int64, device=device)
        self.fine = torch.ones((), dtype=torch.bool, device=device)
        self.flags: dict[str, Tensor] = {}
        for part in (*before, *after):
            part.register_forward_hook(self._look)

    def tensors(self) -> list[Tensor]:
        """Returns the tensors that `see` writes."""
        return [self.sums, self.first_bad, self.step]

    def begin(self) -> None:
        """Clears the sums and flags of the previous epoch."""
        self.sums.zero_()
        self.step.zero_()
        self.first_bad.fill_(NEVER)
        self.flags = {}

    def see(self, images: int, values: Mapping[str, Tensor], outputs: Mapping[str, Outputs]) -> None:
        """Records a step. images: their number. values: each term and 'total'. outputs: by stream. All are detached."""
        flags, self.flags = self.flags, {}
        flags |= {_network(name): torch.isfinite(o.logits.sum()) for name, o in outputs.items() if o.logits is not None}
        losses = torch.stack([values[name] for name in self.terms])
        flags |= dict(zip(map(_term, self.terms), torch.isfinite(losses).unbind(), strict=True))
        finite = torch.stack([flags.get(place, self.fine) for place in self.places])
        torch.minimum(self.first_bad, torch.where(finite, NEVER, self.step), out=self.first_bad)
        self.step.add_(1)
        self.sums.add_(losses.double(), alpha=images)

    def _look(self, part: nn.Module, inputs: object, output: object) -> None:
        name, flag = _part(part), finite(output)  # a part is called once for each label column
        if flag is not None:
            self.flags[name] = self.flags[name] & flag if name in self.flags else flag

    def means(self, clock: Clock, images: int) -> dict[str, float]:
        """Returns the mean of each loss over the epoch's images.

        Raises a TrainingError that names the first output that was not finite, with its epoch and step.
        """
        steps = self.first_bad.tolist()
        if min(steps) < NEVER:
            place, step = self.places[steps.index(min(steps))], min(steps)
            raise TrainingError(
                f"the loss is not finite: {place}, stage '{clock.stage}', epoch {clock.epoch + 1}, step {step + 1}. "
                "Lower optimizer.lr, or change the named part"
            )
        return {name: total / images for name, total in zip(self.terms, self.sums.tolist(), strict=True)}


def _part(part: nn.Module) -> str:
    return f"part {type(part).__name__}"


def _network(stream: str) -> str:
    return f"network on stream '{stream}'"


def _term(name: str) -> str:
    return f"term '{name}'"
