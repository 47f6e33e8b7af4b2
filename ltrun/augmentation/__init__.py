"""Data augmentation: transforms of the images of one stream, and mixing across streams.

All parts work on whole batches on their device, with static shapes, and draw from the device's default generator.
"""

from ltrun.augmentation.aug_mix import AugMix
from ltrun.augmentation.autoaugment import AutoAugment
from ltrun.augmentation.blur import Blur
from ltrun.augmentation.cmo import CMO
from ltrun.augmentation.colour_jitter import ColourJitter
from ltrun.augmentation.crop_flip import CropFlip
from ltrun.augmentation.cuda import CUDA
from ltrun.augmentation.cutout import Cutout
from ltrun.augmentation.flip import Flip
from ltrun.augmentation.grey import Grey
from ltrun.augmentation.mixup import Mixup
from ltrun.augmentation.rand_augment import RandAugment
from ltrun.augmentation.random_erasing import RandomErasing
from ltrun.augmentation.random_resized_crop import RandomResizedCrop
from ltrun.augmentation.rotation import Rotation
from ltrun.augmentation.simclr import SimCLR
from ltrun.augmentation.trivial_augment import TrivialAugment

__all__ = [
    "AugMix", "AutoAugment", "Blur", "CMO", "CUDA", "ColourJitter", "CropFlip", "Cutout", "Flip", "Grey", "Mixup",
    "RandAugment", "RandomErasing", "RandomResizedCrop", "Rotation", "SimCLR", "TrivialAugment",
]  # fmt: skip
