"""Cost of loading and augmenting a training image, in ltrun and in the reference repositories' way.

    python benchmarks/data.py --workers 0 --json benchmarks/results/data.json

small: images of 32 x 32 in memory, cropped and mirrored: one by one through PIL and batched by a DataLoader, or as a batch from
ltrun's resident store. photos: JPEG files of 500 x 375, resized and cropped to 224 x 224: torchvision's ImageFolder and a
DataLoader, or ltrun's streamed store, both with --workers processes that live through all passes; or ltrun's resident store,
whose images are decoded once (decoding). Before timing, both sides must give the same photos up to APART, because ltrun crops
before scaling and torchvision after. The last line is `ratio small=... photos=... resident=...`.
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

from ltrun.data.folder import ImageFolder
from ltrun.data.images import Decoding, decode_all
from ltrun.data.stores import Store, Streamed
from ltrun.types import Batch

SIDE, CLASSES = 224, 4
APART = 4.0  # levels of 255, the largest allowed mean difference between the photos of both sides


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
        sides, images = sides | more, images | counts
        record.result(levels_apart=apart)
        print(f"mean difference of the photos: {apart:.1f} levels of 255")
        if apart > APART:
            print("the photos of ltrun and torchvision differ, so nothing is timed")
            return 1
        times = alternate(sides, args.repeats, device, record.times)
    cost = {name: 1e6 * side.median / images[name] for name, side in times.items()}
    ratios = {
        "small": cost["small, plain"] / cost["small, ltrun"],
        "photos": cost["photos, plain"] / cost["photos, streamed"],
        "resident": cost["photos, plain"] / cost["photos, resident"],
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
    same = [plain.loader(str(streamed.decoders.files.path(file))) for file in streamed.index[:8]]
    apart = float((first - torch.stack([scaled(image) for image in same]).double()).abs().mean())
    rows = torch.randperm(len(files)).split(args.batch_size)
    sides: dict[str, Callable[[], object]] = {
        "photos, plain": lambda: [images.to(device, non_blocking=True) for images, _ in loader],
        "photos, streamed": lambda: through(streamed, rows),
        "photos, resident": lambda: through(resident, rows),
        "decoding": lambda: decode_all(files, Decoding(SIDE), threads=max(args.workers, 1)),
    }
    return sides, dict.fromkeys(sides, len(files)), apart


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
