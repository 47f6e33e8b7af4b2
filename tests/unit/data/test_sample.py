"""Sample check before decoding: 16-bit files that hold fewer bits, and files of several pages."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ltrun.data import ImageFolder
from tests.support.data_fakes import images_of, refused
from tests.unit.data.test_images import RAMP, decoded, deep_png, folder_of, pgm, plain_pgm, saved

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("streamed", [False, True])
def test_16_bit_images_that_hold_fewer_bits_are_refused(tmp_path: Path, streamed: bool) -> None:
    folder_of(tmp_path, a=saved(np.zeros((8, 8), np.uint16), "PNG"), b=saved((RAMP * 64).astype(np.uint16), "PNG"))
    sentence = refused(ImageFolder(str(tmp_path), image_size=8, streamed=streamed, workers=0))
    assert sentence.startswith(str(tmp_path / "test" / "bee" / "xa.png"))
    assert "reach 4,032 of 65,535" in sentence
    assert "dataset.grey_range=[0,4095], or [0,65535]" in sentence
    dark, bright = (
        images_of(ImageFolder(str(tmp_path), image_size=8, grey_range=[0, high]).open(CPU).test)[-1].max()
        for high in (65535, 4095)
    )
    assert (dark, bright) == (15, 252)


def test_a_dark_image_among_bright_images_is_accepted(tmp_path: Path) -> None:
    folder_of(tmp_path, a=saved(RAMP.astype(np.uint16), "PNG"), b=saved((RAMP * 1024).astype(np.uint16), "PNG"))
    assert images_of(ImageFolder(str(tmp_path), image_size=8).open(CPU).test)[-2].max() == 0


def test_dark_16_bit_colour_images_are_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, a=deep_png(np.repeat((RAMP * 64)[..., None], 3, axis=2), 2))
    assert "dataset.grey_range" in refused(ImageFolder(str(tmp_path), image_size=8))


@pytest.mark.parametrize("content", [pgm(RAMP * 64, 65535), plain_pgm(RAMP * 64, 65535)], ids=["raw", "plain"])
def test_a_dark_pgm_is_refused_with_its_brightest_value(tmp_path: Path, content: bytes) -> None:
    folder_of(tmp_path, a=content)
    assert "reach 4,032 of 65,535" in refused(ImageFolder(str(tmp_path), image_size=8))
    given = ImageFolder(str(tmp_path), image_size=8, grey_range=[0, 4095]).open(CPU)
    assert images_of(given.test)[-1].max() == 252


def test_only_the_first_page_of_a_file_counts_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        content = saved(
            pages[0], kind, save_all=True, append_images=pages[1:], **({"lossless": True} if kind == "WEBP" else {})
        )
        assert (decoded(content) == (255, 0, 0)).all(), kind
        folder_of(tmp_path / kind, a=content)
        caplog.clear()
        ImageFolder(str(tmp_path / kind), image_size=8).open(CPU)
        assert f"such as {tmp_path / kind / 'test' / 'bee' / 'xa.png'} hold several images (3): only the first" in caplog.text
