"""Decoding of unusual images: bit depths, value ranges, transparency, large files, odd file names."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ltrun.data import ImageFolder
from ltrun.data.decoding import Decoding
from ltrun.data.images import decode_all, shown
from ltrun.errors import ConfigError, DataError
from tests.support.data_fakes import class_folders, images_of, refused

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("own_cache")
RAMP = np.arange(64, dtype=np.int64).reshape(8, 8)  # 0 to 63


def saved(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(content: bytes, size: int = 8, **how: Any) -> np.ndarray:
    """Returns (size, size, 3) pixels."""
    images, reasons = decode_all([content], Decoding(size, **how))
    assert not reasons
    return images[0].transpose(1, 2, 0)


def reason(content: bytes, size: int = 8, **how: Any) -> str:
    _, reasons = decode_all([content], Decoding(size, **how))
    return reasons[0]


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Returns a PNG of these rows, each with its filter byte."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = b"".join(chunk(*some) for some in chunks) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


def deep_png(values: np.ndarray, colour: int) -> bytes:
    """values: (H, W, channels) of 16 bits."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, colour, rows)


def big_endian_tiff(pixels: np.ndarray) -> bytes:
    image = Image.fromarray(pixels)
    image = Image.frombytes("I;16B", image.size, pixels.astype(">u2").tobytes())
    return saved(image, "TIFF")


def tiff_of_12_bits(values: np.ndarray) -> bytes:
    """Returns a minimal TIFF of (8, 8) values, packed at 12 bits."""
    bits = "".join(f"{value:012b}" for value in values.flat)
    pixels = bytes(int(bits[k : k + 8], 2) for k in range(0, len(bits), 8))
    tags = [
        (256, 3, 8), (257, 3, 8), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 3, 8),
        (279, 4, len(pixels)),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


def pgm(values: np.ndarray, largest: int) -> bytes:
    width = ">u2" if largest > 255 else ">u1"
    return f"P5 8 8 {largest}\n".encode() + values.astype(width).tobytes()


def plain_pgm(values: np.ndarray, largest: int) -> bytes:
    return f"P2 8 8 {largest}\n{' '.join(map(str, values.flat))}\n".encode()


KNOWN: dict[str, Callable[[], bytes]] = {  # an 8 x 8 ramp from 0 to 252, in files that state their range
    "16-bit PNG": lambda: saved((RAMP * 1024).astype(np.uint16), "PNG"),
    "16-bit TIFF": lambda: saved((RAMP * 1024).astype(np.uint16), "TIFF"),
    "big-endian TIFF": lambda: big_endian_tiff((RAMP * 1024).astype(np.uint16)),
    "compressed TIFF": lambda: saved((RAMP * 1024).astype(np.uint16), "TIFF", compression="tiff_deflate"),
    "12-bit TIFF": lambda: tiff_of_12_bits(RAMP * 64),
    "16-bit RGB": lambda: deep_png(np.repeat((RAMP * 1024)[..., None], 3, axis=2), 2),
    "16-bit RGBA": lambda: deep_png(np.stack([*[RAMP * 1024] * 3, RAMP * 0 + 65535], axis=2), 6),
    "16-bit grey and alpha": lambda: deep_png(np.stack([RAMP * 1024, RAMP * 0 + 65535], axis=2), 4),
    "PGM of 63": lambda: pgm(RAMP, 63),
    "PGM of 1008": lambda: pgm(RAMP * 16, 1008),
    "PGM of 65535": lambda: pgm(RAMP * 1024, 65535),
    "plain PGM of 65535": lambda: plain_pgm(RAMP * 1024, 65535),
}


@pytest.mark.parametrize("kind", KNOWN)
def test_a_known_range_fills_the_8_bits(kind: str) -> None:
    wanted = RAMP * 255 / 63 if kind in ("PGM of 63", "PGM of 1008") else RAMP * 4
    for grey_range in (None, (0, 65535)):
        assert np.abs(decoded(KNOWN[kind](), grey_range=grey_range) - wanted[..., None]).max() <= 1


@pytest.mark.parametrize(
    ("pixels", "kind", "low", "high"),
    [
        ((RAMP * 64).astype(np.uint16), "PNG", 0, 4095),
        ((RAMP * 64).astype(np.uint16), "TIFF", 0, 4095),
        ((RAMP * 64 - 1000).astype(np.int32), "TIFF", -1000, 3095),
        (RAMP.astype(np.int32), "TIFF", 0, 63),
        ((RAMP / 63).astype(np.float32), "TIFF", 0, 1),
        ((RAMP / 63 - 0.5).astype(np.float32), "TIFF", -0.5, 0.5),
    ],
)
def test_a_given_range_fills_the_8_bits(pixels: np.ndarray, kind: str, low: float, high: float) -> None:
    shown_at = decoded(saved(pixels, kind), grey_range=(low, high))
    assert np.abs(shown_at - (RAMP * 255 / 63)[..., None]).max() <= 3
    assert (shown_at.min(), shown_at.max() >= 252) == (0, True)


@pytest.mark.parametrize("write", [pgm, plain_pgm])
def test_a_given_range_applies_to_a_pgm_of_65535_only(write: Callable[[np.ndarray, int], bytes]) -> None:
    assert decoded(write(RAMP * 64, 65535), grey_range=(0, 4095)).max() == 252
    assert decoded(write(RAMP * 64, 4095), grey_range=(0, 65535)).max() == 252  # the file states its own range


@pytest.mark.parametrize("pixels", [(RAMP * 1024).astype(np.uint16), (RAMP * 1024).astype(np.float32)], ids=["16-bit", "float"])
def test_a_tiff_whose_least_value_is_white_is_not_shown_as_a_negative(pixels: np.ndarray) -> None:
    given = None if pixels.dtype == np.uint16 else (0, 65535)
    shown_at = decoded(saved(pixels, "TIFF", tiffinfo={262: 0}), grey_range=given)
    assert np.abs(shown_at - (255 - RAMP * 4)[..., None]).max() <= 1


def test_values_beyond_the_range_are_black_or_white() -> None:
    content = saved(np.tile(np.array([-5, 0, 10, 90], np.int32), (8, 2)), "TIFF")
    assert decoded(content, grey_range=(0, 10))[0, :4, 0].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_refused(value: float) -> None:
    assert "not finite" in reason(saved(np.full((8, 8), value, np.float32), "TIFF"), grey_range=(0, 1))


def folder_of(root: Path, **files: bytes) -> Path:
    class_folders(root / "train", {"ant": 2, "bee": 2}, size=8)
    class_folders(root / "test", {"ant": 1, "bee": 1}, size=8)
    for name, content in files.items():
        (root / "test" / "bee" / f"x{name}.png").write_bytes(content)
    return root


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("1", (8, 8), 1), 255),
        (Image.new("LA", (8, 8), (90, 0)), 255),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 0)), 255),
        (Image.new("PA", (8, 8)).convert("RGBA"), 255),
    ],
)
def test_transparent_pixels_are_laid_on_white(image: Image.Image, colour: int) -> None:
    assert (decoded(saved(image, "PNG")) == colour).all()


def test_a_transparent_colour_of_a_palette_is_laid_on_white() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30] * 256)
    assert (decoded(saved(image, "PNG", transparency=0)) == 255).all()
    assert (decoded(saved(image, "PNG")) == (10, 20, 30)).all()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_cmyk_and_ycbcr_become_rgb(mode: str) -> None:
    image = Image.new("RGB", (8, 8), (200, 30, 10)).convert(mode)
    assert np.abs(decoded(saved(image, "TIFF")).astype(int) - (200, 30, 10)).max() <= 3


# Large files


def test_a_large_jpeg_is_decoded_at_a_reduced_scale() -> None:
    content = saved(Image.new("RGB", (12000, 9000), (200, 30, 10)), "JPEG")
    assert np.abs(decoded(content, 64).astype(int) - (200, 30, 10)).max() <= 3
    assert "dataset.max_pixels=1687500" in reason(content, 64, max_pixels=1_000_000)
    assert "has 12,000 x 9,000 pixels and is refused" in reason(content, 4096)


def test_a_progressive_jpeg_counts_in_full_against_the_limit_of_pixels() -> None:
    """Its decoder holds all coefficients at once, at any scale."""
    content = saved(Image.new("L", (1200, 900)), "JPEG", progressive=True)
    assert "dataset.max_pixels=1080000" in reason(content, 64, max_pixels=1_000_000)
    assert decoded(content, 64, max_pixels=1_080_000).max() == 0


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "BMP", "WEBP", "PPM"])
def test_max_pixels_sets_the_limit_of_pixels(kind: str) -> None:
    content = saved(Image.new("RGB", (40, 30), (200, 30, 10)), kind)
    assert "has 40 x 30 pixels and is refused" in (said := reason(content, max_pixels=1199))
    assert "scale it down, or train with dataset.max_pixels=1200" in said
    assert decoded(content, max_pixels=1200).shape == (8, 8, 3)


def test_max_pixels_may_exceed_pillows_own_limit() -> None:
    row = b"\0" + bytes(1250)
    content = png(10_000, 18_000, 1, 0, row * 18_000)  # more than twice Pillow's own limit
    assert "dataset.max_pixels=180000000" in reason(content)
    assert decoded(content, max_pixels=180_000_000).max() == 0


@pytest.mark.parametrize("megabytes", [3, 90])
@pytest.mark.parametrize("kind", ["zTXt", "iCCP", "iTXt"])
def test_texts_and_colour_profiles_of_a_png_may_be_large(kind: str, megabytes: int) -> None:
    info = PngInfo()
    text = b"a" * (megabytes << 20)
    middle = b"en\0\0" if kind == "iTXt" else b""
    info.add(kind.encode(), b"note\0" + (b"\1\0" if kind == "iTXt" else b"\0") + middle + zlib.compress(text, 1))
    image = Image.new("RGB", (8, 8), (200, 30, 10))
    for after in (False, True):
        info.chunks = [(*chunk[:2], after) for chunk in info.chunks]
        assert (decoded(saved(image, "PNG", pnginfo=info)) == (200, 30, 10)).all()


# Names


def test_file_names_are_escaped_to_fit_on_one_line(tmp_path: Path) -> None:
    folder_of(tmp_path)
    path = tmp_path / "train" / "ant" / "two\nlines\r\x1b[31m\udcff.png"
    path.write_bytes(b"")
    sentence = refused(ImageFolder(str(tmp_path), image_size=8))
    assert sentence.startswith(f"{path.parent}/two\\nlines\\r\\x1b[31m\\udcff.png is empty")
    assert sentence.encode().decode().isprintable()
    assert ImageFolder(str(tmp_path), image_size=8, skip_unreadable=True).open(CPU).skipped == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_files_whose_names_are_not_utf_8_are_read(tmp_path: Path, streamed: bool) -> None:
    folder_of(tmp_path)
    path = tmp_path / "train" / "ant" / "0000.png"
    path.rename(path.with_name("gr\udcfcn.png"))
    assert len(ImageFolder(str(tmp_path), image_size=8, streamed=streamed, workers=0).open(CPU).train) == 4


def test_a_name_that_can_be_printed_is_not_escaped() -> None:
    assert shown("/Größe/写真 (1)/a.png") == "/Größe/写真 (1)/a.png"


@pytest.mark.parametrize("value", [[4095.0, 0.0], [1.0, 1.0], [1.0], [0.0, float("inf")], [0.0, float("nan")]])
def test_an_invalid_grey_range_is_refused(value: list[float]) -> None:
    with pytest.raises(ConfigError, match="grey_range must be two numbers, black before white"):
        ImageFolder("x", grey_range=value)


def test_cached_images_depend_on_the_grey_range_and_the_limit_of_pixels(tmp_path: Path) -> None:
    folder_of(tmp_path, a=saved((RAMP * 64).astype(np.uint16), "PNG"))
    for high, brightest in ((4095, 252), (8191, 126)):
        test = ImageFolder(str(tmp_path), image_size=8, grey_range=[0, high]).open(CPU).test
        assert images_of(test)[-1].max() == brightest
    with pytest.raises(DataError, match="max_pixels=64"):
        ImageFolder(str(tmp_path), image_size=8, grey_range=[0, 4095], max_pixels=63).open(CPU)
