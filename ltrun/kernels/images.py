"""Image kernel: gather, crop, flip and normalise in one pass over the stored bytes. Imports Triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # values of a program
ROUNDING = {"enable_fp_fusion": False}  # of products and sums each, as torch's two operations do


@triton.jit(do_not_specialize=["places", "top", "left"])  # views of a plan and of draws: aligned in some steps alone
def _kernel(  # type: ignore[no-untyped-def]  # Triton reads annotations
    pixels, places, top, left, flip, scale, shift, out,
    CHANNELS: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, LAST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Writes BLOCK values of an image, in the order of `out`. LAST: whether the channels of a pixel lie side by side there."""
    image, area = tl.program_id(0).to(tl.int64), HEIGHT * WIDTH
    value = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = value < CHANNELS * area
    channel = value % CHANNELS if LAST else value // area
    pixel = value // CHANNELS if LAST else value % area
    column = pixel % WIDTH
    column = tl.where(tl.load(flip + image), WIDTH - 1 - column, column) + tl.load(left + image)
    row = pixel // WIDTH + tl.load(top + image)
    inside = there & (row >= 0) & (row < HEIGHT) & (column >= 0) & (column < WIDTH)
    place = image if places is None else tl.load(places + image)
    stored = tl.load(pixels + (place * CHANNELS + channel) * area + row * WIDTH + column, mask=inside, other=0)
    normal = stored.to(tl.float32) * tl.load(scale + channel, mask=there) + tl.load(shift + channel, mask=there)
    tl.store(out + image * CHANNELS * area + value, normal, mask=there)


def crop_flip_normalise(
    pixels: Tensor,
    places: Tensor | None,
    top: Tensor,
    left: Tensor,
    flip: Tensor,
    scale: Tensor,
    shift: Tensor,
    layout: torch.memory_format,
) -> Tensor:
    """Returns (B, channels, H, W) float32, `crop_flip(pixels[places], top, left, flip) * scale + shift`, in the same bits.

    pixels: (P, channels, H, W) uint8, contiguous, on a CUDA device. places: (B,) int64; all pixels in order if None. top, left:
    (B,) int64. flip: (B,) bool. scale, shift: a float32 value for each channel. layout: of the result.
    """
    channels, height, width = pixels.shape[1:]
    # Grey images lie in memory as contiguous ones do in either layout, and convolutions look at their strides.
    layout = layout if channels > 1 else torch.contiguous_format
    out = torch.empty((len(top), channels, height, width), device=pixels.device, memory_format=layout)
    _kernel[len(top), triton.cdiv(channels * height * width, BLOCK)](
        pixels.contiguous(), places, top, left, flip, scale, shift, out, channels, height, width,
        layout is torch.channels_last, BLOCK, **ROUNDING,
    )  # fmt: skip
    return out
