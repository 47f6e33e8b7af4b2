"""Averages of a network's weights, which are used in their place: over steps (runtime.ema), or over epochs (role `average`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn

from ltrun.parts import Average, Network
from ltrun.types import Clock

Norm = nn.modules.batchnorm._NormBase


class Averaged(nn.Module):
    """The average of a network in one stage. network: a copy, in which the averaged weights are.

    Running means and variances of batch normalisation are averaged like weights; all other buffers, such as the weights of a
    momentum twin, are the network's own tensors. Averages are written in place, on the device.
    """

    def __init__(self, network: Network):
        super().__init__()
        norms = [module for module in network.modules() if isinstance(module, Norm)]
        statistics = {id(buffer) for norm in norms for buffer in norm.buffers() if buffer.is_floating_point()}
        shared = {id(buffer): buffer for buffer in network.buffers() if id(buffer) not in statistics}
        self.network: Network = deepcopy(network, shared).requires_grad_(False)
        ours, theirs = _averaged(self.network), _averaged(network)
        self.pairs = [(own, theirs[name]) for name, own in ours.items() if own is not theirs[name]]

    @property
    def begun(self) -> bool:
        """Whether there is an average, to be evaluated and kept."""
        return True

    @property
    def renews(self) -> bool:
        """Whether batch normalisation gets new statistics for the average: see `renew`."""
        return False

    def follow(self) -> None:
        """Called after each step."""

    def take(self, clock: Clock) -> None:
        """Called at the end of each epoch."""

    @torch.no_grad()
    def move(self, share: Tensor) -> None:
        """Moves the average by a share of the way to the network's present weights."""
        for dtype in dict.fromkeys(own.dtype for own, _ in self.pairs):
            own, raw = (list(column) for column in zip(*(pair for pair in self.pairs if pair[0].dtype is dtype), strict=True))
            apart = torch._foreach_sub(raw, own)
            torch._foreach_mul_(apart, share.to(dtype))
            torch._foreach_add_(own, apart)

    @torch.no_grad()
    def settle(self, network: Network) -> None:
        """Gives a network the averaged weights, where there are any."""
        if self.begun:
            network.load_state_dict(self.network.state_dict())

    @torch.no_grad()
    def renew(self, like: Network, passes: Iterable[Callable[[Network], object]]) -> None:
        """Gives batch normalisation the plain means of the statistics of batches.

        like: the network in training, whose frozen statistics stay. passes: each passes a batch through a network.
        """
        for own, raw in zip(self.network.modules(), like.modules(), strict=True):
            own.training = raw.training
        norms = [module for module in self.network.modules() if isinstance(module, Norm) and module.training]
        momenta = [norm.momentum for norm in norms]
        for done, passing in enumerate(passes if norms else (), 1):
            for norm in norms:
                norm.momentum = 1 / done
            passing(self.network)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class OfSteps(Averaged):
    """An exponential moving average. steps: taken so far.

    After each step, average <- d * average + (1 - d) * weights, where d = min(decay, (1 + t) / (10 + t)) after t steps, as
    TensorFlow's ExponentialMovingAverage counts them, so that the average leaves the first weights soon. Statistics of batch
    normalisation are averaged as in timm's ModelEma.

    Polyak and Juditsky, 1992, SIAM J. Control Optim. 30(4); the decay: tf.train.ExponentialMovingAverage(num_updates).
    """

    steps: Tensor
    decay: Tensor

    def __init__(self, network: Network, decay: float):
        super().__init__(network)
        device = next(iter(network.parameters())).device
        self.register_buffer("steps", torch.zeros((), dtype=torch.float64, device=device))
        self.register_buffer("decay", torch.tensor(decay, dtype=torch.float64, device=device), persistent=False)

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the average towards the network's present weights."""
        share = 1 - torch.minimum(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        self.move(share)


class OfEpochs(Averaged):
    """An average of the weights at the ends of epochs, in the shares of a rule; batch statistics are renewed for it.

    started: whether a first epoch counts already.
    """

    started: Tensor

    def __init__(self, network: Network, rule: Average):
        super().__init__(network)
        self.rule = rule
        device = next(iter(network.parameters())).device
        self.register_buffer("started", torch.zeros((), dtype=torch.bool, device=device))

    @property
    def begun(self) -> bool:
        return bool(self.started)

    @property
    def renews(self) -> bool:
        return self.begun

    def take(self, clock: Clock) -> None:
        """Moves the average towards the weights at the end of an epoch, by the share of the rule."""
        share = self.rule.share(clock)
        if share is not None:
            self.move(torch.tensor(share, dtype=torch.float64, device=self.started.device))
            self.started.fill_(True)


def _averaged(network: Network) -> dict[str, Tensor]:
    """Returns the parameters and buffers of floating-point numbers by name."""
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: tensor for name, tensor in named.items() if tensor.is_floating_point()}
