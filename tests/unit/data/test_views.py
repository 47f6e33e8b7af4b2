"""Views of photographs: the same pixels as Pillow's decoder and torchvision's transforms, for every kind of file."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from ltrun.data.crop import RandomCrop, drawn, uniform
from ltrun.data.decoding import Decoding
from ltrun.data.images import Unreadable, decode_all, explained, is_plain_jpeg, photograph
from ltrun.data.jpeg import jpeg_size
from ltrun.data.views import view

HOW = Decoding(32, resize=36)
LEVELS = 2  # of 255, by which antialiased scaling of bytes may differ from Pillow's


def picture(width: int = 90, height: int = 64, seed: int = 0) -> Image.Image:
    """A smooth picture with some detail, as photographs have."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def by_pillow(content: bytes) -> Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(content)).convert("RGB"))).permute(2, 0, 1)


CONTENTS = {
    "colour": encoded(picture(), quality=90),
    "progressive": encoded(picture(), progressive=True),
    "4:4:4": encoded(picture(), subsampling=0),
    "grey": encoded(picture().convert("L")),
    "CMYK": encoded(picture().convert("CMYK")),
    "PNG named as JPEG": encoded(picture(), "PNG"),
    "palette": encoded(picture().convert("P"), "PNG"),
    "one pixel wide": encoded(picture().resize((1, 40))),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_decoded_pixels_equal_pillows(content: bytes) -> None:
    assert torch.equal(photograph(content, HOW), by_pillow(content))


def test_torchvision_decodes_colour_and_grey_jpegs_and_pillow_all_else() -> None:
    plain = {name for name, content in CONTENTS.items() if is_plain_jpeg(content, HOW)}
    assert plain == {"colour", "progressive", "4:4:4", "grey", "one pixel wide"}
    assert jpeg_size(CONTENTS["colour"]) == (90, 64)
    assert jpeg_size(CONTENTS["colour"][:100]) is None


@pytest.mark.parametrize("size", [(90, 64), (64, 90), (36, 36), (36, 80), (91, 37), (500, 375)])
def test_the_view_of_evaluation_equals_resize_and_centre_crop(size: tuple[int, int]) -> None:
    content = encoded(picture(*size))
    expected = transforms.Compose([transforms.Resize(36), transforms.CenterCrop(32), transforms.PILToTensor()])
    found = view(photograph(content, HOW), HOW)
    wanted = expected(Image.open(io.BytesIO(content)))
    assert found.shape == (3, 32, 32) and (found.int() - wanted.int()).abs().max() <= LEVELS


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_random_crop_equals_pillows_crop_and_resize(interpolation: str) -> None:
    crop = RandomCrop(32, interpolation=interpolation)  # type: ignore[arg-type]
    whole = photograph(CONTENTS["colour"], HOW)
    for numbers in uniform(np.arange(40, dtype=np.uint64)):
        top, left, height, width = crop.box(64, 90, numbers)
        part = picture_of(whole).crop((left, top, left + width, top + height))
        scaled = part.resize((32, 32), getattr(Image.Resampling, interpolation.upper()))
        wanted = torch.from_numpy(np.array(scaled)).permute(2, 0, 1)
        assert (view(whole, HOW, crop, numbers).int() - wanted.int()).abs().max() <= LEVELS


def picture_of(pixels: Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def test_a_strip_is_cut_before_it_is_scaled() -> None:
    strip = torch.zeros(3, 4, 40_000, dtype=torch.uint8)
    strip[:, :, 19_990:20_010] = 255
    found = view(strip, HOW)
    assert found.shape == (3, 32, 32) and found.max() == 255


def test_photographs_are_turned_as_their_cameras_say_unless_the_references_ignore_it() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(picture(), exif=exif)
    assert photograph(content, Decoding(32, resize=36)).shape == (3, 90, 64)
    assert torch.equal(photograph(content, Decoding(32, resize=36, upright=False)), by_pillow(content))
    assert not is_plain_jpeg(content, HOW) and is_plain_jpeg(content, Decoding(32, resize=36, upright=False))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (CONTENTS["colour"][:1500], "truncated"),
        (b"", "is empty (0 bytes)"),
        (b"<html>404</html>", "is not an image of a known kind"),
    ],
)
def test_what_cannot_be_read_says_why(content: bytes, reason: str) -> None:
    assert reason in str(explained(content, lambda content: photograph(content, HOW)))
    _, reasons = decode_all([content], HOW)
    assert reason in reasons[0]


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(Unreadable, match=r"90 x 64 pixels .* dataset\.max_pixels=5760"):
        photograph(CONTENTS["colour"], Decoding(32, resize=36, max_pixels=5000))


def test_boxes_have_the_area_and_aspect_that_are_asked_for() -> None:
    crop = RandomCrop(32, (0.2, 0.6), (0.5, 2.0))
    boxes = np.array([crop.box(300, 400, numbers) for numbers in uniform(np.arange(2000, dtype=np.uint64))])
    area, aspect = boxes[:, 2] * boxes[:, 3] / 120_000, boxes[:, 3] / boxes[:, 2]
    assert 0.19 < area.min() < 0.22 and 0.57 < area.max() < 0.61 and 0.49 < aspect.min() < 0.55 and 1.8 < aspect.max() < 2.05
    assert (boxes >= 0).all() and (boxes[:, 0] + boxes[:, 2] <= 300).all() and (boxes[:, 1] + boxes[:, 3] <= 400).all()
    assert boxes[:, 0].max() > 100 and boxes[:, 1].max() > 150


def test_where_no_box_fits_the_centre_is_taken() -> None:
    whole = RandomCrop(32, (1.0, 1.0))
    assert whole.box(100, 1000, np.full(40, 0.5)) == (0, 433, 100, 133)
    assert whole.box(1000, 100, np.full(40, 0.5)) == (433, 0, 133, 100)


def test_draws_depend_on_seed_row_and_repetition_alone() -> None:
    crop = RandomCrop(32)
    plan = [torch.tensor([4, 7, 4]), torch.tensor([9, 7])]
    keys = np.concatenate([some.keys for some in drawn(crop, 5, plan)])
    assert len(set(keys.tolist())) == 5, "a repeated photograph is cut anew"
    others = np.concatenate([some.keys for some in drawn(crop, 5, [torch.tensor([7, 9]), torch.tensor([4, 4, 7])])])
    assert others.tolist() == keys[[1, 3, 0, 2, 4]].tolist(), "neither the order nor the batches count"
    assert not set(keys.tolist()) & set(np.concatenate([some.keys for some in drawn(crop, 6, plan)]).tolist())


def test_uniform_numbers_are_uniform() -> None:
    numbers = uniform(np.arange(20_000, dtype=np.uint64))
    assert numbers.min() >= 0 and numbers.max() < 1
    assert np.abs(numbers.mean(0) - 0.5).max() < 0.01 and np.abs(numbers.var(0) - 1 / 12).max() < 0.003
    assert np.abs(np.corrcoef(numbers.T) - np.eye(40)).max() < 0.04
