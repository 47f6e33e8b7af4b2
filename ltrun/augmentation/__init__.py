"""Data augmentation: transforms of the images of one stream, and mixing across streams.

All parts work on whole batches on their device, with static shapes, and draw from the device's default generator.
"""

from ltrun.augmentation.autoaugment import AutoAugment
from ltrun.augmentation.cmo import CMO
from ltrun.augmentation.colour_jitter import ColourJitter
from ltrun.augmentation.crop_flip import CropFlip
from ltrun.augmentation.cutout import Cutout
from ltrun.augmentation.fasa import FASA
from ltrun.augmentation.flip import Flip
from ltrun.augmentation.mixup import Mixup
from ltrun.augmentation.ofa import OFA, Confusing
from ltrun.augmentation.rand_augment import RandAugment
from ltrun.augmentation.random_resized_crop import RandomResizedCrop
from ltrun.augmentation.rotation import Rotation
from ltrun.augmentation.rsg import RSG
from ltrun.augmentation.simclr import SimCLR

__all__ = [
    "AutoAugment", "CMO", "ColourJitter", "Confusing", "CropFlip", "Cutout", "FASA", "Flip", "Mixup", "OFA", "RSG",
    "RandAugment", "RandomResizedCrop", "Rotation", "SimCLR",
]  # fmt: skip
