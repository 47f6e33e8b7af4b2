"""Ranks: the processes that train one network together, each of which passes its share of every batch through the network.

All else is computed on every rank for the whole batch, from outputs that are gathered with their gradient: augmentation,
mixing, losses, the state of parts, metrics. So normalisers, contrastive terms, class means, queues and counters see what they
see in one process, and no part knows of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NoReturn, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ltrun.data.crop import Draws
from ltrun.data.stores import Store
from ltrun.engine.checkpoint import on_host
from ltrun.engine.gathering import Averaging, Gathered, shares
from ltrun.errors import ConfigError, LtrunError, TrainingError
from ltrun.types import Batch, Outputs, Streams

T = TypeVar("T")
Passes = Callable[[Streams, Sequence[str]], dict[str, Outputs]]  # a network, as it is called in training
LEAST = 2  # rows of a share: batch normalisation needs two
APART = 1e-3  # of a tensor's size: the largest difference between ranks that rounding explains


def unheard(error: Exception) -> NoReturn:
    raise error


@dataclass(eq=False)
class Ranks:
    """rank: number of this process, from 0. world: number of processes; alone, nothing is shared and no message is sent.
    local: number of this process on its machine. lost: raises an error that names the rank with which a message failed.
    passing_share: whether the network sees a share of a batch right now, rather than a whole batch.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    lost: Callable[[Exception], NoReturn] = unheard
    passing_share: bool = field(init=False, default=False)

    def __deepcopy__(self, memo: object) -> Ranks:
        return self  # a copied network is on the same rank

    @property
    def alone(self) -> bool:
        return self.world == 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that owns the folder of the run and the console."""
        return self.rank == 0

    def check(self, batch_size: int, compile: object = "auto") -> None:
        """Raises ConfigError unless the ranks can share a batch of the global size equally, and run their steps eagerly."""
        if self.alone:
            return
        if compile is True:
            raise ConfigError("runtime.compile: several ranks run their steps eagerly; leave compile=true out")
        if batch_size % self.world or batch_size < LEAST * self.world:
            down, least = batch_size // self.world * self.world, LEAST * self.world
            nearest = " or ".join(f"{size}" for size in sorted({max(down, least), max(down + self.world, least)}))
            raise ConfigError(
                f"batch_size: {batch_size} is the number of images of all {self.world} ranks together, which cannot take equal "
                f"shares of at least {LEAST}; use {nearest}, or another number of ranks"
            )

    # ------------------------------------------------------------------------------------------------ shares of a batch

    def splits(self, rows: int) -> bool:
        """Whether the ranks share a batch. A smaller one passes through the network of each rank as a whole."""
        return not self.alone and rows >= LEAST * self.world

    def share(self, rows: int) -> slice:
        """The rows of this rank in a batch; shares of a last batch that cannot be divided differ by one row."""
        return shares(rows, self.world)[self.rank] if self.splits(rows) else slice(0, rows)

    def mine(self, tensor: Tensor) -> Tensor:
        return tensor[self.share(len(tensor))]

    def open(
        self, store: Store, plan: Sequence[Tensor], late: bool = False, cuts: Sequence[Draws[Any]] | None = None
    ) -> Iterator[Batch]:
        """Yields whole batches on every rank; ranks share the decoding of images. late, cuts: see `Store.open`."""
        if not store.decodes:
            yield from store.open(plan, late)
            return
        own = cuts and [some.take(self.share(len(some.keys))) for some in cuts]
        for rows, share in zip(plan, store.open([self.mine(rows) for rows in plan], cuts=own), strict=True):
            (inputs,) = self.gather([share.inputs], len(rows))
            yield Batch(inputs, store.targets.take(rows.to(inputs.device)), rows.to(inputs.device))

    # ---------------------------------------------------------------------------------------- passes through the network

    def forward(self, network: Passes, streams: Streams, need: Sequence[str], inside: bool = False) -> dict[str, Outputs]:
        """Returns network(streams, need) for whole batches, of which each rank computes its share. inside: see `Gathered`.

        Random numbers that the network draws differ from rank to rank. A network that draws none moves no generator.
        """
        if not all(self.splits(len(batch)) for batch in streams.values()):
            return network(streams, need)
        parts = {name: batch.take(self.share(len(batch))) for name, batch in streams.items()}
        with self._own_draws(next(iter(parts.values())).inputs.device), self._passing():
            found = network(parts, need)
        by_row = {(name, place): tensor for name, outputs in found.items() for place, tensor in outputs.by_row().items()}
        (rows,) = {len(streams[name]) for name in found}  # the batches of a step have one length: see StageRun
        whole: dict[str, dict[str, Tensor]] = {name: {} for name in found}
        for (name, place), tensor in zip(by_row, self.gather(list(by_row.values()), rows, inside), strict=True):
            whole[name][place] = tensor
        return {name: outputs.of_rows(whole[name]) for name, outputs in found.items()}

    def predict(self, network: Callable[[Tensor], Outputs], inputs: Tensor) -> Outputs:
        """Returns network(inputs) for a whole batch, of which each rank computes its share."""
        if not self.splits(len(inputs)):
            return network(inputs)
        with self._own_draws(inputs.device), self._passing():
            share = network(self.mine(inputs))
        return self.whole(share, len(inputs))

    def whole(self, outputs: Outputs, rows: int) -> Outputs:
        """Returns the outputs of a batch of so many rows, from the outputs of this rank's share."""
        if not self.splits(rows):
            return outputs
        by_row = outputs.by_row()
        return outputs.of_rows(dict(zip(by_row, self.gather(list(by_row.values()), rows), strict=True)))

    def gather(self, shares: Sequence[Tensor], rows: int, inside: bool = False) -> list[Tensor]:
        """Returns the tensors of a whole batch from their shares (b, ...), in one message, with gradient: see `Gathered`."""
        return list(Gathered.apply(self, rows, inside, *shares)) if shares and self.splits(rows) else list(shares)

    @contextmanager
    def _passing(self) -> Iterator[None]:
        self.passing_share = True
        try:
            yield
        finally:
            self.passing_share = False

    @contextmanager
    def _own_draws(self, device: torch.device) -> Iterator[None]:
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int(torch.randint(2**62, ())) + self.rank)
            before = _generators(devices)
            yield
            drew = any(not torch.equal(*states) for states in zip(before, _generators(devices), strict=True))
        if drew:  # the next pass would repeat these numbers
            torch.randint(2**62, ())

    # ------------------------------------------------------------------------------------------------- gradients, state

    def averaging(self, total: Tensor, module: nn.Module) -> Tensor:
        """Returns the loss; a backward pass from it ends by averaging the gradients of the module's parameters."""
        if self.alone or not total.requires_grad:
            return total
        return Averaging.apply(total, self, module)

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors by their means over the ranks, in place; one message for each type of number and device."""
        if self.alone:
            return

        def averaged(flat: Tensor) -> None:
            dist.all_reduce(flat)
            flat /= self.world

        self._send(tensors, averaged)

    def _send(self, tensors: Sequence[Tensor], message: Callable[[Tensor], object]) -> None:
        """Replaces tensors, in place, by what a message makes of all their values of one type in one tensor."""
        for some in _by_type(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in some])
            with self.spoken():
                message(flat)
            for tensor, values in zip(some, flat.split([tensor.numel() for tensor in some]), strict=True):
                tensor.copy_(values.view_as(tensor))

    def mean(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Returns the means of tensors over the ranks, without gradient; alone, the tensors."""
        if self.alone:
            return tuple(tensors)
        copies = tuple(tensor.detach().clone() for tensor in tensors)
        self.average(copies)
        return copies

    @torch.no_grad()
    def agree(self, tensors: Mapping[str, Tensor]) -> None:
        """Gives every rank the values of rank 0, where sums in another order leave roundings.

        Raises TrainingError, which names the tensor, for differences that rounding does not explain.
        """
        if self.alone:
            return
        sizes = torch.stack([_sums(tensor).cpu() for tensor in tensors.values()])  # of an optimizer, some lie on the host
        found = [torch.empty_like(sizes) for _ in range(self.world)]
        with self.spoken():
            dist.all_gather(found, sizes)
        for other, sums in enumerate(found):
            apart = (sums[:, 0] - found[0][:, 0]).abs() > APART * found[0][:, 1] + torch.finfo(torch.float32).tiny
            if apart.any():
                name = list(tensors)[int(apart.nonzero()[0])]
                raise TrainingError(
                    f"'{name}' differs between ranks 0 and {other}: a part depends on something other than the outputs and "
                    "streams of a step and torch's generators, which are the same on all ranks. Mend the part, or train in one "
                    "process"
                )
        self._send(list(tensors.values()), lambda flat: dist.broadcast(flat, 0))

    # ------------------------------------------------------------------------------------------------------- rank 0 acts

    def from_first(self, work: Callable[[], T]) -> T:
        """Returns, on every rank, what the work returns on rank 0, which alone does it.

        Raises its LtrunError on every rank, and TrainingError on the others for any other error.
        """
        if self.alone:
            return work()
        found: list[Any] = [None, None]
        raised: Exception | None = None
        if self.first:
            try:
                found[0] = on_host(work())
            except Exception as error:
                raised = error
                told = f"{type(error).__name__} on rank 0: {error}"
                found[1] = error if isinstance(error, LtrunError) else TrainingError(told)
        with self.spoken():
            dist.broadcast_object_list(found, 0)
        if raised or found[1]:
            raise raised or found[1]
        return found[0]

    def first_on_each_machine(self, work: Callable[[], T]) -> T:
        """Does the work on every rank, but first on one of each machine, which may leave files that the others read.

        An LtrunError of one is raised on every rank.
        """
        if self.alone:
            return work()
        done: T | None = None
        errors: list[LtrunError | None] = [None] * self.world
        for turn in (True, False):
            error = None
            if (self.local == 0) is turn:
                try:
                    done = work()
                except LtrunError as raised:
                    error = raised
            with self.spoken():
                dist.all_gather_object(errors, error)
            for failure in filter(None, errors):
                raise failure
        return cast(T, done)

    def meet(self) -> None:
        """Waits for all ranks."""
        if not self.alone:
            with self.spoken():
                dist.all_reduce(torch.zeros(1))

    @contextmanager
    def spoken(self) -> Iterator[None]:
        """Raises an error that names the lost rank, if a message between the ranks fails inside."""
        try:
            yield
        except RuntimeError as error:
            self.lost(error)


ALONE = Ranks()


def _generators(devices: Sequence[torch.device]) -> list[Tensor]:
    return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, devices)]


def _by_type(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    def type_of(tensor: Tensor) -> tuple[str, str]:
        return tensor.device.type, str(tensor.dtype)

    return [list(some) for _, some in groupby(sorted(tensors, key=type_of), key=type_of)]


def _sums(tensor: Tensor) -> Tensor:
    """Returns two float64 numbers: a sum that depends on the order of the values, and the size of its summands.

    Values that are not finite count as 0: they may stand for masked classes, and would hide all others.
    """
    values = tensor.detach().reshape(-1).double().nan_to_num(0.0, 0.0, 0.0)
    values = values * torch.linspace(1, 2, len(values), dtype=torch.float64, device=values.device)
    return torch.stack([values.sum(), values.abs().sum()])
