"""Operations on some images of a batch, chosen by a mask."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def on_chosen(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Returns operation(images, *arguments) for the images whose mask (B,) is true, and the other images as they are.

    arguments: tensors with a row for each image; each row of the result depends on these rows alone. An eager step on a CPU
    computes the chosen rows only, because their number is known there at once. The host would have to wait for a GPU's number,
    and a compiled or captured step cannot change its shapes: there all rows are computed.
    """
    if images.device.type != "cpu" or torch.compiler.is_compiling():
        return torch.where(chosen[:, None, None, None], operation(images, *arguments), images)
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return images
    return images.index_copy(0, rows, operation(images[rows], *(argument[rows] for argument in arguments)))
