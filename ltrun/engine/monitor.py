"""Monitor of an epoch's losses, and of the first output that is not finite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ltrun.errors import TrainingError
from ltrun.numerics import largest
from ltrun.types import Clock, Outputs


class LossMonitor:
    """Adds up an epoch's losses on the device and remembers the first step with an output that is not finite.

    terms: names of the objective's terms. streams: names of the streams that pass through the network. before, after: parts
    that run before and after the network. Their outputs are checked too, so that the message names the part and not only its
    term; minus infinity is allowed there, because it masks a class. Each place of a step gives one number, which is finite if
    all numbers there are. All tensors are updated in place, so that a captured step keeps counting.
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
        parts = {_part(part) for part in (*before, *after)}
        most = torch.finfo(torch.float64).max
        least = [-torch.inf if name in parts else -most for name in self.places]
        self.least, self.most = (torch.tensor(limit, dtype=torch.float64, device=device) for limit in (least, most))
        self.nothing = torch.zeros((), device=device)
        self.sums = torch.zeros(len(self.terms), dtype=torch.float64, device=device)
        self.steps = torch.zeros(len(self.places), dtype=torch.int64, device=device)  # of a place, until its first bad one
        self.fine = torch.ones(len(self.places), dtype=torch.bool, device=device)
        self.found: dict[str, Tensor] = {}  # place -> its number in the present step
        for part in (*before, *after):
            part.register_forward_hook(self._look)

    def tensors(self) -> list[Tensor]:
        """Returns the tensors that `see` writes."""
        return [self.sums, self.steps, self.fine]

    def begin(self) -> None:
        """Clears the sums and findings of the previous epoch."""
        self.sums.zero_()
        self.steps.zero_()
        self.fine.fill_(True)
        self.found = {}

    def see(self, images: int, values: Mapping[str, Tensor], outputs: Mapping[str, Outputs]) -> None:
        """Records a step. images: their number. values: each term and 'total'. outputs: by stream. All are detached."""
        found, self.found = self.found, {}
        found |= {_network(name): o.logits.sum() for name, o in outputs.items() if o.logits is not None}
        found |= {_term(name): values[name] for name in self.terms}
        numbers = torch.stack([found.get(place, self.nothing) for place in self.places]).double()
        self.fine.logical_and_(numbers.clamp(self.least, self.most) == numbers)
        self.steps.add_(self.fine)
        self.sums.add_(numbers[-len(self.terms) :], alpha=images)

    def _look(self, part: nn.Module, inputs: object, output: object) -> None:
        name, number = _part(part), largest(output)  # a part is called once for each label column
        if number is not None:
            self.found[name] = torch.maximum(self.found[name], number) if name in self.found else number

    def means(self, clock: Clock, images: int) -> dict[str, float]:
        """Returns the mean of each loss over the epoch's images.

        Raises a TrainingError that names the first output that was not finite, with its epoch and step.
        """
        found = zip(self.steps.tolist(), self.places, self.fine.tolist(), strict=True)
        if bad := [(step, place) for step, place, fine in found if not fine]:
            step, place = min(bad, key=lambda one: one[0])
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
