"""Weight averaging (runtime.ema): an exponential moving average of a network's weights, which is used in their place."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from ltrun.parts import Network


class Average(nn.Module):
    """The average of a network in one stage. network: a copy, in which the averaged weights are. steps: taken so far.

    After each step, average <- d * average + (1 - d) * weights, where d = min(decay, (1 + t) / (10 + t)) after t steps, as
    TensorFlow's ExponentialMovingAverage counts them, so that the average leaves the first weights soon. Running means and
    variances of batch normalisation are averaged in the same way, as in timm's ModelEma; all other buffers, such as the
    weights of a momentum twin, are the network's own tensors. Averages are written in place, on the device.

    Polyak and Juditsky, 1992, SIAM J. Control Optim. 30(4); the decay: tf.train.ExponentialMovingAverage(num_updates).
    """

    steps: Tensor
    decay: Tensor

    def __init__(self, network: Network, decay: float):
        super().__init__()
        norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
        statistics = {id(buffer) for norm in norms for buffer in norm.buffers() if buffer.is_floating_point()}
        shared = {id(buffer): buffer for buffer in network.buffers() if id(buffer) not in statistics}
        self.network: Network = deepcopy(network, shared).requires_grad_(False)
        device = next(network.parameters()).device
        self.register_buffer("steps", torch.zeros((), dtype=torch.float64, device=device))
        self.register_buffer("decay", torch.tensor(decay, dtype=torch.float64, device=device), persistent=False)
        ours, theirs = _averaged(self.network), _averaged(network)
        self.pairs = [(own, theirs[name]) for name, own in ours.items() if own is not theirs[name]]

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the average towards the network's present weights."""
        share = 1 - torch.minimum(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for dtype in dict.fromkeys(own.dtype for own, _ in self.pairs):
            own, raw = (list(column) for column in zip(*(pair for pair in self.pairs if pair[0].dtype is dtype), strict=True))
            apart = torch._foreach_sub(raw, own)
            torch._foreach_mul_(apart, share.to(dtype))
            torch._foreach_add_(own, apart)

    @torch.no_grad()
    def settle(self, network: Network) -> None:
        """Gives a network the averaged weights."""
        network.load_state_dict(self.network.state_dict())


def _averaged(network: Network) -> dict[str, Tensor]:
    """Returns the parameters and buffers of floating-point numbers by name."""
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: tensor for name, tensor in named.items() if tensor.is_floating_point()}
