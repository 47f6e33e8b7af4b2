"""Backbones (from images to features) and networks (from the streams of a step to outputs)."""

from ltrun.network.auxiliary import Auxiliary
from ltrun.network.bilateral import Bilateral
from ltrun.network.complementary import Complementary
from ltrun.network.depth_fusion import DepthFusion
from ltrun.network.experts import Experts
from ltrun.network.frame_classifier import FrameClassifier
from ltrun.network.modulated import Modulated
from ltrun.network.momentum import Momentum
from ltrun.network.normalised import Normalised
from ltrun.network.plain import Plain, Projected, Projector
from ltrun.network.residual_fusion import ResidualFusion
from ltrun.network.resnet import ResNet
from ltrun.network.resnet_cifar import ResNetCIFAR
from ltrun.network.routed import Routed
from ltrun.network.routed_experts import RoutedExperts
from ltrun.network.timm_models import Timm
from ltrun.network.trustworthy import Trustworthy
from ltrun.network.two_heads import TwoHeads

__all__ = [
    "Auxiliary", "Bilateral", "Complementary", "DepthFusion", "Experts", "FrameClassifier", "Modulated", "Momentum",
    "Normalised", "Plain", "Projected", "Projector", "ResNet", "ResNetCIFAR", "ResidualFusion", "Routed", "RoutedExperts",
    "Timm", "Trustworthy", "TwoHeads",
]  # fmt: skip
