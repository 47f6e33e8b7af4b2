"""Data augmentation: transforms of the images of one stream, and mixing across streams.

All parts work on whole batches on their device, with static shapes, and draw from the device's default generator.
"""

from ltrun.augmentation.aug_mix import AugMix
from ltrun.augmentation.autoaugment import AutoAugment
from ltrun.augmentation.blur import Blur
from ltrun.augmentation.cam import CAM
from ltrun.augmentation.cmo import CMO
from ltrun.augmentation.colour_jitter import ColourJitter
from ltrun.augmentation.crop_flip import CropFlip
from ltrun.augmentation.cuda import CUDA
from ltrun.augmentation.cutmix import CutMix
from ltrun.augmentation.cutout import Cutout
from ltrun.augmentation.fasa import FASA
from ltrun.augmentation.flip import Flip
from ltrun.augmentation.frame_stack import FrameStack
from ltrun.augmentation.grey import Grey
from ltrun.augmentation.isda import ISDA
from ltrun.augmentation.m2m import M2m
from ltrun.augmentation.mamix import MAMix
from ltrun.augmentation.manifold_mixup import ManifoldMixup
from ltrun.augmentation.metasaug import MetaSAug
from ltrun.augmentation.mixup import Mixup
from ltrun.augmentation.ofa import OFA, Confusing
from ltrun.augmentation.photometric_distortion import PhotometricDistortion
from ltrun.augmentation.pure_noise import OPeN
from ltrun.augmentation.rand_augment import RandAugment
from ltrun.augmentation.random_erasing import RandomErasing
from ltrun.augmentation.random_frames import RandomFrames
from ltrun.augmentation.random_resized_crop import RandomResizedCrop
from ltrun.augmentation.remix import Remix
from ltrun.augmentation.risda import RISDA
from ltrun.augmentation.rotation import Rotation
from ltrun.augmentation.rsg import RSG
from ltrun.augmentation.simclr import SimCLR
from ltrun.augmentation.stretched_crop import StretchedCrop
from ltrun.augmentation.trivial_augment import TrivialAugment
from ltrun.augmentation.unimix import UniMix

__all__ = [
    "AugMix", "AutoAugment", "Blur", "CAM", "CMO", "ColourJitter", "Confusing", "CropFlip", "CUDA", "CutMix", "Cutout", "FASA",
    "Flip", "FrameStack", "Grey", "ISDA", "M2m", "MAMix", "ManifoldMixup", "MetaSAug", "Mixup", "OFA", "OPeN",
    "PhotometricDistortion", "RandAugment", "RandomErasing", "RandomFrames", "RandomResizedCrop", "Remix", "RISDA", "Rotation",
    "RSG", "SimCLR", "StretchedCrop", "TrivialAugment", "UniMix",
]  # fmt: skip
