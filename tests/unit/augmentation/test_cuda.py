"""CUDA: which images its levels augment, how tests of the network move the levels, Pillow's pixels on photographs."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from ltrun.augmentation import CUDA
from ltrun.augmentation.cuda import CHOICES, SIGNED, value_of
from ltrun.augmentation.operations import INDEX, apply
from ltrun.errors import ConfigError
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs, View
from tests.support.photographs import SHAPES, assert_close, batch_of, photographs

LABELS = torch.tensor([0] * 8 + [1] * 4 + [3])  # class 2 has no images
STATS = ClassStats(torch.bincount(LABELS, minlength=4))


def pillow(image: Image.Image, name: str, v: float) -> Image.Image:
    """The operation as the authors apply it."""
    affine, (width, height) = Image.Transform.AFFINE, image.size
    added = [min(255, int(level + v)) for level in range(256)] * len(image.getbands())

    def enlarged() -> Image.Image:
        wide, high = int(width * v), int(height * v)
        left, top = wide // 2 - width // 2, high // 2 - height // 2
        return image.resize((wide, high), Image.Resampling.LANCZOS).crop((left, top, left + width, top + height))

    ways: dict[str, Callable[[], Image.Image]] = {
        "flip": lambda: ImageOps.flip(image),
        "mirror": lambda: ImageOps.mirror(image),
        "edge_enhance": lambda: image.filter(ImageFilter.EDGE_ENHANCE),
        "detail": lambda: image.filter(ImageFilter.DETAIL),
        "smooth": lambda: image.filter(ImageFilter.SMOOTH),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "invert": lambda: ImageOps.invert(image),
        "gaussian_blur": lambda: image.filter(ImageFilter.GaussianBlur(v)),
        "resize_crop": enlarged,
        "rotate": lambda: image.rotate(v),
        "posterize": lambda: ImageOps.posterize(image, max(1, int(v))),
        "solarize": lambda: ImageOps.solarize(image, v),  # type: ignore[arg-type]
        "add_solarize": lambda: ImageOps.solarize(image.point(added), 128),
        "color": lambda: ImageEnhance.Color(image).enhance(v),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(v),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(v),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(v),
        "shear_x": lambda: image.transform(image.size, affine, (1, v, 0, 0, 1, 0)),
        "shear_y": lambda: image.transform(image.size, affine, (1, 0, 0, v, 1, 0)),
        "translate_x": lambda: image.transform(image.size, affine, (1, 0, v, 0, 1, 0)),
        "translate_y": lambda: image.transform(image.size, affine, (1, 0, 0, 0, 1, v)),
    }
    return ways[name]()


def array(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_operation_has_pillows_pixels(name: str, shape: tuple[int, int, int]) -> None:
    images = photographs(4, shape)
    images[3] = 77  # a flat image: nothing to stretch or equalise
    seen = [Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()) for image in images]
    for magnitude in (1, 3, 6, 10):
        for sign in (1, -1) if name in SIGNED else (1,):
            value = sign * value_of(name, magnitude)
            operation, values = torch.full((4,), INDEX[name]), torch.full((4,), value, dtype=torch.float64)
            expected = torch.stack([array(pillow(one, name, value)) for one in seen])
            # Pillow's sums of floats decide values halfway between two levels, which are frequent for `detail` alone.
            exact = {"detail": 0.9, "resize_crop": 0.999}.get(name, 1.0)
            assert_close(apply(images, operation, values, 0), expected, levels=int(exact < 1), exact=exact)


def view_of(predict: Callable[[Tensor], Tensor], part: CUDA, images: Tensor | None = None) -> View:
    stored = photographs(len(LABELS), (3, 8, 8)) if images is None else images

    def opened(rows: Tensor) -> Batch:
        return Batch(stored[rows], Labels.hard(LABELS[rows]), rows)

    generator = torch.Generator().manual_seed(0)
    return View(Clock("train", 1, 9), STATS, opened, lambda inputs: Outputs(logits=predict(inputs)), generator, LABELS, part)


def knowing(classes: list[int]) -> Callable[[Tensor], Tensor]:
    """Predicts right for these classes alone: the images' only grey level is their label."""

    def logits(inputs: Tensor) -> Tensor:
        label = inputs[:, 0, 0, 0].long().clamp(max=3)
        known = torch.tensor([c in classes for c in range(4)])[label]
        return torch.nn.functional.one_hot(torch.where(known, label, (label + 1) % 4), 4).float()

    return logits


def test_levels_rise_for_recognised_classes_and_fall_for_others() -> None:
    part = CUDA(num_classes=4, probability=0.0)
    labelled = LABELS[:, None, None, None].expand(-1, 3, 8, 8).to(torch.uint8)
    part.choices.fill_(INDEX["identity"])  # so that levels hide no label
    levels = []
    for known in ([0, 1, 2, 3], [0, 3], [0, 3], [3]):
        part.adapt(view_of(knowing(known), part, labelled))
        levels.append(part.level.tolist())
    assert levels == [[1, 1, 0, 1], [2, 0, 0, 2], [3, 0, 0, 3], [2, 0, 0, 4]]


def test_a_test_augments_as_in_training_and_by_its_own_level() -> None:
    part = CUDA(num_classes=4, probability=0.0, tests=3)
    part.level.copy_(torch.tensor([2, 1, 0, 0]))
    seen: list[Tensor] = []

    def predict(inputs: Tensor) -> Tensor:
        seen.append(inputs)
        return torch.zeros(len(inputs), 4)

    torch.manual_seed(0)
    part.adapt(view_of(predict, part))
    images = torch.cat(seen)
    originals = {tuple(image.flatten().tolist()) for image in photographs(len(LABELS), (3, 8, 8))}
    plain = [tuple(image.flatten().tolist()) in originals for image in images]
    assert len(plain) == 3 * (1 + 2 + 3) + 3 * (1 + 2) + 0 + 3, "3 images at level 0, 6 at level 1, 9 at level 2"
    assert all(plain[:3]) and all(plain[18:21]) and all(plain[27:]), "level 0 augments nothing"
    assert sum(plain) < 14, "higher levels augment all images of the test, not a share"
    assert part.level_given is None


def test_an_image_has_its_classs_level_with_the_probability() -> None:
    torch.manual_seed(0)
    part = CUDA(num_classes=2)
    part.level.copy_(torch.tensor([0, 9]))
    images = photographs(1).expand(2000, -1, -1, -1)
    labels = torch.arange(2000) % 2
    changed = (part(batch_of(images, labels)).inputs != images).flatten(1).any(1)
    assert not changed[labels == 0].any()
    assert changed[labels == 1].float().mean() == pytest.approx(0.5, abs=0.05)


def test_more_operations_are_applied_at_higher_levels() -> None:
    torch.manual_seed(0)
    images, changes = photographs(1).expand(1500, -1, -1, -1), []
    for level in (1, 2, 4):
        part = CUDA(num_classes=1, probability=1.0)
        part.choices.fill_(INDEX["translate_x"])
        part.values.fill_(1)
        part.signed.fill_(False)
        part.level.fill_(level)
        black = (part(batch_of(images)).inputs == 0).all((1, 2)).sum(1)
        changes.append(black.unique().tolist())
    assert changes == [[1], [2], [4]]


@pytest.mark.parametrize("bad", [{"probability": 1.5}, {"magnitude": 21}, {"operations": 0}, {"tests": 0}, {"accept": 1.0}])
def test_impossible_values_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(bad))} must"):
        CUDA(num_classes=2, **bad)  # type: ignore[arg-type]
