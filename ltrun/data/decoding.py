"""How an image file becomes a stored image."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PIXELS = 89_478_485  # Pillow's own limit: 256 MiB of RGB


@dataclass(frozen=True)
class Decoding:
    """How image files are decoded: to `size` x `size` pixels.

    crop: cut the centre square and scale it to `size`; otherwise an image of another size counts as unreadable. resize: scale
    the shorter side to so many pixels and cut the centre, in place of the largest square; see `ltrun.data.views`.
    stretch: scale the whole image, whatever its shape, so that nothing is cut and its aspect is lost.
    upright: turn images as their EXIF orientation says.
    grey_range: the values of black and white in grey images of more than 8 bits whose range is not in the file.
    max_pixels: an image that decodes to more pixels is refused, because it would fill the memory.
    """

    size: int
    crop: bool = True
    grey_range: tuple[float, float] | None = None
    max_pixels: int = MAX_PIXELS
    resize: int | None = None
    upright: bool = True
    stretch: bool = False

    @property
    def whole(self) -> bool:
        """Whether `ltrun.data.views` makes the view of evaluation from the whole photograph."""
        return self.stretch or self.resize is not None
