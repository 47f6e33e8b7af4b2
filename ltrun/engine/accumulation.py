"""Accumulation (runtime.accumulate): a batch that passes through the network in parts, for one optimizer step.

Augmentation, mixing, losses and the state of parts see the whole batch, as on several ranks; a part's activations are computed
once more in the backward pass, so that those of one part alone are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Protocol

from torch import Tensor, nn

from ltrun.config.settings import Settings
from ltrun.engine.distributed import ALONE, LEAST, Ranks
from ltrun.engine.gathering import shares
from ltrun.errors import ConfigError
from ltrun.types import Outputs, Streams


def check(settings: Settings, ranks: Ranks = ALONE) -> None:
    """Raises ConfigError unless a batch can pass in parts."""
    parts, share = settings.runtime.accumulate, settings.batch_size // ranks.world
    if parts == 1:
        return
    if settings.runtime.compile is True:
        raise ConfigError("runtime.compile: steps in parts run eagerly; leave compile=true out, or runtime.accumulate")
    if settings.runtime.sync_bn and not ranks.alone:
        raise ConfigError(
            "runtime.sync_bn: batch normalisation over the whole batch needs all its images at once; leave it out, or "
            "runtime.accumulate"
        )
    if share < LEAST * parts:
        of = "" if ranks.alone else f" on each of {ranks.world} ranks"
        raise ConfigError(
            f"runtime.accumulate: {share} images{of} cannot pass in {parts} parts of at least {LEAST}; use at most "
            f"{max(1, share // LEAST)}, or a larger batch_size"
        )


def rows_of_a_part(settings: Settings, ranks: Ranks) -> int | None:
    """Returns the most images that pass at once; None where the whole batch does."""
    parts = settings.runtime.accumulate
    return None if parts == 1 else -(-settings.batch_size // (ranks.world * parts))


class Passes(Protocol):
    """A network, or a piece of it, as it is called in training."""

    def __call__(self, streams: Streams, need: Sequence[str], /) -> dict[str, Outputs]: ...

    def modules(self) -> Iterator[nn.Module]: ...


class InParts:
    """Calls a network as the network is called in training, in parts of at most so many rows. Outputs have all rows.

    Each part has batch statistics of its own, and moves the running statistics once. Random numbers that the network draws are
    the same when a part is computed again. A last batch passes in fewer parts, of at least two rows.
    """

    def __init__(self, network: Passes, rows: int):
        self.network, self.rows = network, rows

    def __call__(self, streams: Streams, need: Sequence[str]) -> dict[str, Outputs]:
        length = len(next(iter(streams.values())))
        number = min(-(-length // self.rows), length // LEAST)
        if number < 2:
            return self.network(streams, need)
        parts = [{name: batch.take(rows) for name, batch in streams.items()} for rows in shares(length, number)]
        found = [self._part(part, need) for part in parts]
        return {name: Outputs.concatenate([each[name] for each in found]) for name in found[0]}

    def _part(self, streams: Streams, need: Sequence[str]) -> dict[str, Outputs]:
        from torch.utils.checkpoint import checkpoint  # imports torch._dynamo

        def run(*inputs: Tensor) -> dict[str, Outputs]:  # on these tensors' device random states are kept
            given = {name: batch.replace(inputs=x) for (name, batch), x in zip(streams.items(), inputs, strict=True)}
            return self.network(given, need)

        inputs = [batch.inputs for batch in streams.values()]
        return checkpoint(run, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _Again(self.network)))


class _Again:
    """Lets a network write its buffers to copies, which are dropped: a second pass moves no statistics.

    A class, because a graph that is differentiated twice, as by `Bilevel`, enters the same context each time.
    """

    def __init__(self, network: Passes):
        self.network = network

    def __enter__(self) -> None:
        buffers = [(module, name, b) for module in self.network.modules() for name, b in module._buffers.items()]
        self.kept = [(module, name, buffer) for module, name, buffer in buffers if buffer is not None]
        for module, name, buffer in self.kept:
            module._buffers[name] = buffer.clone()

    def __exit__(self, *error: object) -> None:
        for module, name, buffer in self.kept:
            module._buffers[name] = buffer
