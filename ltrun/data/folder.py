"""Image folders: the user's own data, in one folder of images per class."""

# No `from __future__ import annotations`: `bind` reads the annotations of inherited fields here.
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ltrun.data.class_folders import scan
from ltrun.data.folder_labels import folder_sets
from ltrun.data.images import shown
from ltrun.data.layout import splits_of
from ltrun.data.listed import Found
from ltrun.data.photos import Photos
from ltrun.errors import DataError
from ltrun.metrics import BOTH, MULTI_LABEL


@dataclass(eq=False)
class ImageFolder(Photos):
    """Folders of images, one per class: root/train/<class>/* with root/test/<class>/* or root/val/<class>/*, or root/<class>/*.

    With both test and val, val is the validation split; `ltrun.data.layout` knows other names of the three folders. Without
    either, test images are held out. A class without images in test or val is not measured there. Classes are in the order of
    their names, numerical where all names are numbers. Only images in the class folders themselves count.

    With task multi_label the name of a folder holds the labels of its images, `bird;boat`; the classes are the labels of the
    training folders.
    """

    image_size: int = 64

    tasks = BOTH
    of_splits: ClassVar[str] = "folder"

    def find(self) -> Found:
        root = self.folder
        layout = self._layout(root)
        if self.task == MULTI_LABEL:
            scanned = {split: scan(path, root, alone=True) for split, path in layout.items()}
            names, sets = folder_sets({split: folder.names for split, folder in scanned.items()}, layout)
            listed = {split: folder.listed(root, sets[split][folder.labels]) for split, folder in scanned.items()}
            return Found(listed, names)
        train = scan(layout.pop("train"), root)
        tested = {split: scan(path, root, train.names, partial=True) for split, path in layout.items()}
        folders = {"train": train} | tested
        return Found({split: folder.listed(root) for split, folder in folders.items()}, train.names)

    def _layout(self, root: Path) -> dict[str, Path]:
        """Returns split -> its folder of class folders: train, and test and val where they exist."""
        if not root.is_dir():
            raise DataError(
                f"{shown(root)} is not a folder: give dataset.root=FOLDER, a folder with one folder of images per class"
            )
        layout = splits_of(root)
        self.refuse_ineffective({split: shown(path) for split, path in layout.items()})
        return layout
