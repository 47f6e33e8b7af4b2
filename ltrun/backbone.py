"""Base class of backbones: images to features, in pieces between which feature mixers act."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from ltrun.errors import ConfigError

INPUTS = "inputs"  # the place before the first piece
Piece = tuple[str, Callable[[Tensor], Tensor]]  # the place where a piece of a network ends, and the piece


@dataclass(frozen=True)
class Preprocessing:
    """Preparation of images that pre-trained weights expect. mean, std: for pixels in 0..1. size: side in pixels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    interpolation: str


class Backbone(nn.Module):
    """features: D. forward: images (B, channels, H, W) -> features (B, D). pixels: least and largest side of its images.
    videos: whether it takes features of frames (B, frames, D) in place of images.
    Class methods tell what is known from its arguments alone: sides of images, preprocessing, name -> URL of weights.
    """

    features: int
    pixels: ClassVar[tuple[int, int] | None] = None
    videos: ClassVar[bool] = False

    @classmethod
    def pixels_of(cls, arguments: Mapping[str, Any]) -> tuple[int, int] | None:
        return cls.pixels

    @classmethod
    def preprocessing(cls, arguments: Mapping[str, Any]) -> Preprocessing | None:
        return None

    @classmethod
    def published(cls, arguments: Mapping[str, Any]) -> Mapping[str, str]:
        return {}

    def pieces(self) -> list[Piece]:
        """Returns the pieces that `forward` consists of, each with the name of the place where it ends, 'features' last."""
        return [("features", self)]

    def fork(
        self, after: str, copies: int, width: float | Sequence[float] = 1.0, depth: float | Sequence[float] = 1.0
    ) -> tuple[nn.Module, list[Backbone]]:
        """Cuts the backbone after a named block. Returns the shared trunk, and `copies` branches that each end in features.

        The branches are new modules with `width` times the channels and `depth` times the blocks of each layer, rounded, at
        least one: one number for all branches, or one for each. after='inputs' shares nothing; the trunk is then the identity.
        `levels(images)` of another trunk is the maps after each of its layers, `maps(maps)` of a branch its last maps, before
        pooling. The backbone must not be used afterwards. Raises ConfigError for a backbone that cannot be forked.
        """
        raise ConfigError(f"network: {type(self).__name__} cannot be forked into branches; choose ensemble=none")


def without_neck(backbone: Backbone) -> Backbone:
    """Returns a backbone whose last maps have a channel for each feature. Raises ConfigError for another."""
    if getattr(backbone, "neck", None) is not None:
        raise ConfigError("network.neck: this ensemble makes features of maps itself; set network.neck=null")
    return backbone


def for_each(value: float | Sequence[float], copies: int, name: str) -> list[float]:
    """Returns a number for each branch. value: one for all, or a sequence. Raises ConfigError for another length."""
    values = [value] * copies if isinstance(value, int | float) else list(value)
    if len(values) != copies:
        raise ConfigError(f"{name} must be one number, or a list of {copies}, one for each expert, got {values}")
    return values


def kept(blocks: int, depth: float) -> int:
    """Returns how many of the blocks of a layer a branch of another depth has. Raises ConfigError for a depth of 0 or less."""
    if depth <= 0:
        raise ConfigError(f"depth must be above 0, got {depth}")
    return max(1, round(depth * blocks))
