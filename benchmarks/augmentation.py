"""Cost of each image augmentation on a batch, beside the training step that it precedes and beside Pillow's way.

    python benchmarks/augmentation.py --threads 1 --json benchmarks/results/augmentation.json

step: one step of ResNet-32 with the data set's own crops and flips. Each augmentation is timed on a batch of as many images of
32 x 32 pixels: in ltrun, all at once; by Pillow, image by image, as in the reference repositories, from Pillow's images to a
batch of bytes. CUDA is timed with all classes at one level. share: ltrun's time over the step's; a share above LIMIT is named.
Times are CPU seconds of this process, which other programs lengthen less than the clock; use one thread. The last line is
`pillow NAME=... NAME=...`, Pillow's time over ltrun's.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from by_pillow import SIDES
from common import Record, arguments, milliseconds, prepared
from PIL import Image
from subject import Subject, runtime
from timing import alternate
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from ltrun.augmentation import (
    CUDA,
    AugMix,
    AutoAugment,
    Blur,
    ColourJitter,
    CropFlip,
    Cutout,
    Grey,
    RandAugment,
    RandomErasing,
    Rotation,
    SimCLR,
    TrivialAugment,
)
from ltrun.parts import Augment
from ltrun.types import Batch, Labels

LIMIT = 0.1
ENOUGH = 0.3  # seconds of a repeat; os.times counts in hundredths
CLASSES = 100


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    args = parser.parse_args(argv)
    device = prepared(args)
    record = Record("augmentation", args, device)
    print(record.title)
    subject = Subject(device, "method=erm", f"batch_size={args.batch_size}", *runtime(args), steps=1)
    subject.settle()
    pixels, labels = (tensor[: args.batch_size] for tensor in subject.images())
    batch = Batch(pixels.to(device), Labels.hard(labels.to(device)), torch.arange(len(labels), device=device))
    images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in pixels]
    calls: dict[str, Callable[[], object]] = {"step": subject.train}
    for name, part in parts().items():
        calls[name] = partial(part.to(device), batch)
        calls[f"{name}, Pillow"] = partial(one_by_one, SIDES[name], images)
    times_each = {name: 1 if args.smoke else repeats_of(call) for name, call in calls.items()}
    sides = {name: partial(again, call, times_each[name]) for name, call in calls.items()}
    times = alternate(sides, args.repeats, device, record.times, warm_up=False)
    cost = {name: (side.own or side.median) / times_each[name] for name, side in times.items()}
    shares = {name: cost[name] / cost["step"] for name in parts()}
    record.result(milliseconds_a_batch={name: 1000 * seconds for name, seconds in cost.items()}, shares=shares)
    record.result(missed=[name for name, share in shares.items() if share > LIMIT])
    print(f"{'step':16} {milliseconds(cost['step'])}")
    for name, share in shares.items():
        own, pillow = milliseconds(cost[name]), milliseconds(cost[f"{name}, Pillow"])
        print(f"{name:16} {own:>10} {100 * share:6.1f} % of a step; Pillow {pillow}{'  MISSED' if share > LIMIT else ''}")
    record.close()
    print("pillow " + " ".join(f"{name.replace(' ', '_')}={cost[f'{name}, Pillow'] / cost[name]:.1f}" for name in shares))
    return 0


def parts() -> dict[str, Augment]:
    """Returns the augmentations with the values of their options."""
    return {
        "crop, flip": CropFlip(),
        "rotation": Rotation(),
        "cutout": Cutout(),
        "random erasing": RandomErasing(),
        "grey": Grey(),
        "blur": Blur(),
        "colour jitter": ColourJitter(),
        "simclr": SimCLR(),
        "autoaugment": AutoAugment("long_tailed"),
        "randaugment": RandAugment("torchvision", 2, 9.0, 0.0, 1.0, 0),
        "randaugment lt": RandAugment("long_tailed", 2, 14.0, 0.0, 1.0, 0),
        "trivialaugment": TrivialAugment(),
        "augmix": AugMix(),
        "cuda level 3": curriculum(3),
        "cuda level 10": curriculum(10),
    }


def curriculum(level: int) -> CUDA:
    part = CUDA(num_classes=CLASSES)
    part.level.fill_(level)
    return part


def one_by_one(augment: Callable[[Image.Image], Image.Image], images: Sequence[Image.Image]) -> Tensor:
    return torch.stack([pil_to_tensor(augment(image)) for image in images])


def repeats_of(call: Callable[[], object]) -> int:
    """Returns how often a call has to be repeated to take ENOUGH seconds."""
    call()
    begun = time.perf_counter()
    call()
    return max(1, math.ceil(ENOUGH / (time.perf_counter() - begun)))


def again(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


if __name__ == "__main__":
    sys.exit(main())
