"""Batch-norm folding: batch normalisations merged into the convolutions of a trained network, for evaluation."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from ltrun.parts import Network


def folded(network: Network) -> Network:
    """Returns a copy in evaluation mode, with batch normalisations folded into the convolutions before them; same function.

    A module names its pairs: `normalised = (("conv1", "bn1"),)` says that it uses conv1 only in bn1(conv1(x)).
    """
    copy = deepcopy(network).eval()
    for module in copy.modules():
        for conv_name, bn_name in getattr(module, "normalised", ()):
            conv, bn = module.get_submodule(conv_name), module.get_submodule(bn_name)
            assert isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d)
            conv.weight, conv.bias = (nn.Parameter(tensor, requires_grad=False) for tensor in fold(conv, bn))
            module.set_submodule(bn_name, nn.Identity())
    return copy


@torch.no_grad()
def fold(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals bn(conv(x)) in evaluation; float64 inside, conv's type outside."""
    assert bn.running_mean is not None and bn.running_var is not None
    scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    before = 0.0 if conv.bias is None else conv.bias.double()
    bias = bn.bias.double() + (before - bn.running_mean.double()) * scale
    return (conv.weight.double() * scale[:, None, None, None]).to(conv.weight), bias.to(conv.weight)
