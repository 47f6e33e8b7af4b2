"""Blocks of a ResNet, basic and bottleneck, with torchvision's names of parameters, and a neck behind its pooling."""

from __future__ import annotations

from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.kernels.norm_relu import norm_relu

SHORTCUT = (("downsample.0", "downsample.1"),)


class Basic(nn.Module):
    """Two 3x3 convolutions beside a shortcut: the identity, or a 1x1 convolution where channels or resolution change."""

    def __init__(self, inputs: int, planes: int, stride: int):
        super().__init__()
        self.channels = planes
        self.conv1, self.bn1 = convolution(inputs, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = convolution(planes, planes, 3), nn.BatchNorm2d(planes)
        self.downsample = _downsample(inputs, planes, stride)
        self.normalised = (("conv1", "bn1"), ("conv2", "bn2"), *SHORTCUT[self.downsample is None :])

    def forward(self, x: Tensor) -> Tensor:
        y = norm_relu(self.bn1, self.conv1(x))
        return norm_relu(self.bn2, self.conv2(y), x if self.downsample is None else self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut as in `Basic`. The result has 4 times `planes` channels."""

    def __init__(self, inputs: int, planes: int, stride: int, *, groups: int, width_per_group: int):
        super().__init__()
        inner = int(planes * width_per_group / 64) * groups
        if inner < 1:
            raise ConfigError(f"width_per_group must leave a channel in each group, got {width_per_group} for {planes} planes")
        self.channels = 4 * planes
        self.conv1, self.bn1 = convolution(inputs, inner, 1), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = convolution(inner, inner, 3, stride, groups), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = convolution(inner, self.channels, 1), nn.BatchNorm2d(self.channels)
        self.downsample = _downsample(inputs, self.channels, stride)
        self.normalised = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), *SHORTCUT[self.downsample is None :])

    def forward(self, x: Tensor) -> Tensor:
        y = norm_relu(self.bn1, self.conv1(x))
        y = norm_relu(self.bn2, self.conv2(y))
        return norm_relu(self.bn3, self.conv3(y), x if self.downsample is None else self.downsample(x))


class Neck(nn.Sequential):
    """Features (B, D) -> shorter features (B, features): a linear layer, batch normalisation and dropout, no ReLU."""

    def __init__(self, inputs: int, features: int, dropout: float):
        linear = nn.Linear(inputs, features)
        nn.init.kaiming_normal_(linear.weight, mode="fan_out")
        nn.init.zeros_(linear.bias)
        super().__init__(linear, nn.BatchNorm1d(features), nn.Dropout(dropout))


def _downsample(inputs: int, channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == channels:
        return None
    return nn.Sequential(convolution(inputs, channels, 1, stride), nn.BatchNorm2d(channels))


def convolution(inputs: int, channels: int, side: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, channels, side, stride, padding=side // 2, groups=groups, bias=False)
