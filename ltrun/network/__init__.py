"""Backbones (from images to features) and networks (from the streams of a step to outputs)."""

from ltrun.network.auxiliary import Auxiliary
from ltrun.network.bilateral import Bilateral
from ltrun.network.experts import Experts
from ltrun.network.modulated import Modulated
from ltrun.network.momentum import Momentum
from ltrun.network.normalised import Normalised
from ltrun.network.plain import Plain, Projected, Projector
from ltrun.network.resnet import ResNet
from ltrun.network.resnet_cifar import ResNetCIFAR
from ltrun.network.routed import Routed
from ltrun.network.timm_models import Timm
from ltrun.network.two_heads import TwoHeads

__all__ = [
    "Auxiliary", "Bilateral", "Experts", "Modulated", "Momentum", "Normalised", "Plain", "Projected", "Projector", "ResNet",
    "ResNetCIFAR", "Routed", "Timm", "TwoHeads",
]  # fmt: skip
