"""Augmentations of one image by Pillow and torchvision, as the reference repositories write them."""

from __future__ import annotations

import random
from collections.abc import Callable

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps
from torchvision import transforms
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

One = Callable[[Image.Image], Image.Image]
AFFINE = Image.Transform.AFFINE


def signed(value: float) -> float:
    return -value if random.random() > 0.5 else value


def enlarged(image: Image.Image, v: float) -> Image.Image:
    (width, height), wide, high = image.size, int(image.width * v), int(image.height * v)
    left, top = wide // 2 - width // 2, high // 2 - height // 2
    return image.resize((wide, high), Image.Resampling.LANCZOS).crop((left, top, left + width, top + height))


def added(image: Image.Image, v: float) -> Image.Image:
    levels = [min(255, int(level + v)) for level in range(256)]
    return ImageOps.solarize(image.point(levels * 3), 128)


def square(image: Image.Image, v: float) -> Image.Image:
    left, top = (int(max(0, random.uniform(0, side) - v / 2)) for side in image.size)
    found = image.copy()
    ImageDraw.Draw(found).rectangle((left, top, min(image.width, left + v), min(image.height, top + v)), (125, 123, 114))
    return found


Operation = tuple[Callable[[Image.Image, float], Image.Image], float, float]  # and its values at magnitude 0 and 30
SHARED: list[Operation] = [
    (lambda image, v: ImageOps.autocontrast(image), 0, 1),
    (lambda image, v: ImageOps.equalize(image), 0, 1),
    (lambda image, v: ImageOps.invert(image), 0, 1),
    (lambda image, v: image.rotate(signed(v)), 0, 30),
    (lambda image, v: ImageOps.posterize(image, max(1, int(v))), 0, 4),
    (lambda image, v: ImageOps.solarize(image, int(v)), 0, 256),
    (added, 0, 110),
    (lambda image, v: ImageEnhance.Color(image).enhance(v), 0.1, 1.9),
    (lambda image, v: ImageEnhance.Contrast(image).enhance(v), 0.1, 1.9),
    (lambda image, v: ImageEnhance.Brightness(image).enhance(v), 0.1, 1.9),
    (lambda image, v: ImageEnhance.Sharpness(image).enhance(v), 0.1, 1.9),
    (lambda image, v: image.transform(image.size, AFFINE, (1, signed(v), 0, 0, 1, 0)), 0, 0.3),
    (lambda image, v: image.transform(image.size, AFFINE, (1, 0, 0, signed(v), 1, 0)), 0, 0.3),
    (lambda image, v: image.transform(image.size, AFFINE, (1, 0, signed(v), 0, 1, 0)), 0, 100),
    (lambda image, v: image.transform(image.size, AFFINE, (1, 0, 0, 0, 1, signed(v))), 0, 100),
]
LONG_TAILED: list[Operation] = [*SHARED, (square, 0, 40)]
CUDA: list[Operation] = [
    *SHARED,
    (lambda image, v: ImageOps.flip(image), 0, 1),
    (lambda image, v: ImageOps.mirror(image), 0, 1),
    (lambda image, v: image.filter(ImageFilter.EDGE_ENHANCE), 0, 1),
    (lambda image, v: image.filter(ImageFilter.DETAIL), 0, 1),
    (lambda image, v: image.filter(ImageFilter.SMOOTH), 0, 1),
    (lambda image, v: image.filter(ImageFilter.GaussianBlur(v)), 0, 2),
    (enlarged, 1, 1.5),
]


def several(operations: list[Operation], number: int, magnitude: float, probability: float = 1.0) -> One:
    """Returns an augmentation that applies so many operations at a magnitude of 30, to a share of the images."""

    def augment(image: Image.Image) -> Image.Image:
        for operation, low, high in random.choices(operations, k=number) if random.random() < probability else ():
            image = operation(image, low + (high - low) * magnitude / 30)
        return image

    return augment


def cutout(image: Image.Image) -> Image.Image:
    x, y = random.randrange(image.width), random.randrange(image.height)
    found = image.copy()
    ImageDraw.Draw(found).rectangle((x - 8, y - 8, x + 7, y + 7), 0)
    return found


def blur(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2)))


def erased(image: Image.Image) -> Image.Image:
    return to_pil_image(ERASE(pil_to_tensor(image)))


ERASE = transforms.RandomErasing()
HALF_BLUR = transforms.RandomApply([blur], 0.5)  # type: ignore[arg-type]
SIDES: dict[str, One] = {
    "crop, flip": transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]),
    "rotation": transforms.RandomRotation(15),
    "cutout": cutout,
    "random erasing": erased,
    "grey": transforms.RandomGrayscale(0.2),
    "blur": HALF_BLUR,
    "colour jitter": transforms.ColorJitter(0.4, 0.4, 0.4),
    "simclr": transforms.Compose(
        [
            transforms.RandomResizedCrop(32, scale=(0.2, 1)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            transforms.RandomGrayscale(0.2),
            HALF_BLUR,
        ]
    ),
    "autoaugment": transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10),
    "randaugment": transforms.RandAugment(),
    "randaugment lt": several(LONG_TAILED, 2, 14),
    "trivialaugment": transforms.TrivialAugmentWide(),
    "augmix": transforms.AugMix(),
    "cuda level 3": several(CUDA, 3, 3, 0.5),
    "cuda level 10": several(CUDA, 10, 10, 0.5),
}
