"""Data sets: one class for each, whose `open` returns the splits on a device."""

from ltrun.data.annotated import COCOLT, VOCLT
from ltrun.data.cifar import CIFARLT
from ltrun.data.digit_scenes import DigitScenes
from ltrun.data.digits import DigitsLT
from ltrun.data.features import Features
from ltrun.data.folder import ImageFolder
from ltrun.data.image_lists import ImageLists, PublishedLists
from ltrun.data.parquet_images import ParquetImages
from ltrun.data.prepare import InFloat32, Normalise
from ltrun.data.source import Source, Splits
from ltrun.data.stores import Resident, Streamed
from ltrun.data.table import ImageTable
from ltrun.data.videolt import VideoLT

__all__ = [
    "CIFARLT",
    "COCOLT",
    "DigitScenes",
    "DigitsLT",
    "Features",
    "ImageFolder",
    "ImageLists",
    "ImageTable",
    "InFloat32",
    "Normalise",
    "ParquetImages",
    "PublishedLists",
    "Resident",
    "Source",
    "Splits",
    "Streamed",
    "VOCLT",
    "VideoLT",
]
