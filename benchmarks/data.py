"""Cost of loading and augmenting a training image, in ltrun and in the reference repositories' way.

    python benchmarks/data.py --workers 0 --json benchmarks/results/data.json

small: images of 32 x 32 in memory, cropped and mirrored: one by one through PIL and batched by a DataLoader, or as a batch from
ltrun's resident store. photos: JPEG files of 500 x 375, resized and cropped to 224 x 224: torchvision's ImageFolder and a
DataLoader, or ltrun's streamed store, both with --workers processes that live through all passes; or ltrun's resident store,
whose images are decoded once (decoding). crops: the same files, cut at random and mirrored: the reference chain of the
long-tailed repositories (PIL, RandomResizedCrop, RandomHorizontalFlip, ToTensor, Normalize), or ltrun's streamed store, whose
processes decode and cut while the device mirrors and normalises whole batches; `crops, workers` is the part of the processes
alone, one core of which limits a GPU. Before timing, both sides must give the same photos up to APART, because ltrun crops
before scaling and torchvision after, and the same crops up to LEVELS. The last line is
`ratio small=... photos=... resident=... crops=... workers=...`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from common import Record, arguments, prepared
from PIL import Image
from stand_ins import PerImage
from subject import Subject, runtime, sized
from timing import alternate
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from ltrun.augmentation import Flip
from ltrun.data.crop import RandomCrop, drawn, uniform
from ltrun.data.decoding import Decoding
from ltrun.data.folder import ImageFolder
from ltrun.data.images import decode_all
from ltrun.data.prepare import Normalise
from ltrun.data.stores import Store, Streamed
from ltrun.types import Batch

SIDE, CLASSES = 224, 4
APART = 4.0  # levels of 255, the largest allowed mean difference between the photos of both sides
LEVELS = 2  # of 255, the largest allowed difference between the pixels of both sides' crops
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--photos", type=int, default=400, help="number of JPEG files; 400 unless given")
    parser.add_argument("--workers", type=int, default=2, help="decoding processes on both sides; 2 unless given")
    args = parser.parse_args(argv)
    device = prepared(args)
    args.photos = 40 if args.smoke else args.photos
    record = Record("data", args, device)
    print(f"{record.title}, {args.workers} workers")
    with tempfile.TemporaryDirectory(prefix="ltrun-benchmark-") as folder:
        write_photos(Path(folder), args.photos)
        sides, images = small(args, device)
        more, counts, apart = photos(args, device, Path(folder))
        cut, cut_counts, levels = crops(args, device, Path(folder))
        sides, images = sides | more | cut, images | counts | cut_counts
        record.result(levels_apart=apart, levels_of_crops=levels)
        print(f"mean difference of the photos: {apart:.1f} levels of 255; largest difference of the crops: {levels}")
        if apart > APART or levels > LEVELS:
            print("the photos of ltrun and torchvision differ, so nothing is timed")
            return 1
        times = alternate(sides, args.repeats, device, record.times)
    cost = {name: 1e6 * side.median / images[name] for name, side in times.items()}
    ratios = {
        "small": cost["small, plain"] / cost["small, ltrun"],
        "photos": cost["photos, plain"] / cost["photos, streamed"],
        "resident": cost["photos, plain"] / cost["photos, resident"],
        "crops": cost["crops, plain"] / cost["crops, ltrun"],
        "workers": cost["crops, plain"] / cost["crops, workers"],
    }
    record.result(microseconds_an_image=cost, ratios=ratios)
    for name, microseconds in cost.items():
        print(f"{name:17} {microseconds:9.2f} microseconds per image")
    record.close()
    print("ratio " + " ".join(f"{name}={ratio:.2f}" for name, ratio in ratios.items()))
    return 0


Sides = tuple[dict[str, Callable[[], object]], dict[str, int]]  # name -> call to time, name -> its number of images


def small(args: argparse.Namespace, device: torch.device) -> Sides:
    subject = Subject(device, "method=erm", *sized(100), *runtime(args))
    store, augment = subject.train_set, subject.stage.objective.augments["main"]
    plain = PerImage(store, args.workers)
    rows = torch.randperm(len(store)).split(args.batch_size)
    sides: dict[str, Callable[[], object]] = {
        "small, plain": lambda: through(plain, rows),
        "small, ltrun": lambda: through(store, rows, augment),
    }
    return sides, dict.fromkeys(sides, len(store))


def photos(args: argparse.Namespace, device: torch.device, folder: Path) -> tuple[*Sides, float]:
    def store(streamed: bool) -> Store:
        return ImageFolder(str(folder), SIDE, streamed=streamed, workers=args.workers).open(device).train

    streamed, resident = cast(Streamed, store(True)), store(False)
    scaled = transforms.Compose(
        [
            transforms.Resize(SIDE, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(SIDE),
            transforms.PILToTensor(),
        ]
    )
    plain = datasets.ImageFolder(str(folder / "train"), scaled)
    loader = DataLoader(
        plain,
        args.batch_size,
        shuffle=True,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        pin_memory=device.type == "cuda",
    )
    files = [Path(path) for path, _ in plain.samples]
    first = next(streamed.open([torch.arange(8)])).inputs.cpu().double()
    same = [plain.loader(streamed.decoders.images.container.shown(file)) for file in streamed.index[:8]]
    apart = float((first - torch.stack([scaled(image) for image in same]).double()).abs().mean())
    rows = torch.randperm(len(files)).split(args.batch_size)
    sides: dict[str, Callable[[], object]] = {
        "photos, plain": lambda: [images.to(device, non_blocking=True) for images, _ in loader],
        "photos, streamed": lambda: through(streamed, rows),
        "photos, resident": lambda: through(resident, rows),
        "decoding": lambda: decode_all(files, Decoding(SIDE), threads=max(args.workers, 1)),
    }
    return sides, dict.fromkeys(sides, len(files)), apart


def crops(args: argparse.Namespace, device: torch.device, folder: Path) -> tuple[*Sides, int]:
    """Both sides work in this process, on one core."""
    store = cast(Streamed, ImageFolder(str(folder), SIDE, resize=256, workers=0, random_crops=True).open(device).train)
    crop, flip = RandomCrop(SIDE), Flip()
    prepare = Normalise(MEAN, STD, in_channels=3, channels_last=True).to(device)
    chain = [
        transforms.RandomResizedCrop(SIDE),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    plain = datasets.ImageFolder(str(folder / "train"), transforms.Compose(chain))
    loader = DataLoader(plain, args.batch_size, shuffle=True)
    rows = torch.randperm(len(plain)).split(args.batch_size)

    def cut(finish: Callable[[Batch], object]) -> None:
        for batch in store.open(rows, cuts=drawn(crop, 0, rows)):
            finish(batch)

    sides: dict[str, Callable[[], object]] = {
        "crops, plain": lambda: [images.to(device) for images, _ in loader],
        "crops, ltrun": lambda: cut(lambda batch: prepare(flip(batch).inputs)),
        "crops, workers": lambda: cut(lambda batch: batch),
    }
    return sides, dict.fromkeys(sides, len(plain)), apart_from_pillow(store, crop)


def apart_from_pillow(store: Streamed, crop: RandomCrop) -> int:
    """The largest difference, in levels, between the pixels of eight crops and Pillow's crop and resize."""
    plan = [torch.arange(8)]
    (draws,) = drawn(crop, 0, plan)
    worst = 0
    found = next(store.open(plan, cuts=[draws])).inputs.cpu()
    for pixels, number, uniforms in zip(found, store.index[:8], uniform(draws.keys), strict=True):
        image = Image.open(store.decoders.images.container.open(int(number)))
        top, left, height, width = crop.box(image.height, image.width, uniforms)
        part = image.crop((left, top, left + width, top + height)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        worst = max(worst, int((pixels.int() - transforms.functional.pil_to_tensor(part).int()).abs().max()))
    return worst


def through(store: Store, rows: Iterable[Tensor], augment: Callable[[Batch], Batch] = lambda batch: batch) -> None:
    for batch in store.open(list(rows)):
        augment(batch)


def write_photos(folder: Path, number: int) -> None:
    """Writes JPEG files with structure at every scale, as photos have, about 70 kB each, and one test file for each class."""
    generator = np.random.default_rng(0)
    for split, count in {"train": number, "test": CLASSES}.items():
        for index in range(count):
            pixels = sum(
                np.asarray(
                    Image.fromarray(generator.integers(0, 256, (h, w, 3), dtype=np.uint8)).resize((500, 375)), dtype=np.float64
                )
                for h, w in ((3, 4), (12, 16), (47, 63), (188, 250), (375, 500))
            )
            path = folder / split / f"class {index % CLASSES}" / f"{index:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((np.asarray(pixels) / 5).astype(np.uint8)).save(path, quality=90)


if __name__ == "__main__":
    sys.exit(main())
