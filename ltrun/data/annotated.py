"""VOC-LT and COCO-LT: images with any number of labels, from the published lists or from the annotations of VOC and COCO."""

# No `from __future__ import annotations`: `bind` reads the annotations of inherited fields in the modules of subclasses.
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from ltrun.data.annotations import coco_labels, voc_labels
from ltrun.data.image_lists import chosen, joined, lacking, opened
from ltrun.data.images import shown
from ltrun.data.joins import Root
from ltrun.data.label_arrays import LabelArray, hot_of
from ltrun.data.label_sets import LabelSets, Name, compared, difference, label_sets, read_sets, rows_apart
from ltrun.data.listed import Found
from ltrun.data.lists import ImageList, check_apart
from ltrun.data.photos import TEST_FRACTION, NamedPhotos
from ltrun.data.profiles import Profile
from ltrun.data.source import folder_of
from ltrun.errors import DataError
from ltrun.metrics import MULTI_LABEL

log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class Annotated(NamedPhotos):
    """Base of VOC-LT and COCO-LT: finds the lists, and images by their names everywhere below the root, in folders and tars.

    The labels of a list count, and must have the published number of images of each class. A list without labels names images,
    whose labels then come from their annotations. train, test: the lists, relative to `lists` or the root; null: found by their
    usual names. lists: the folder of the lists; null: the root, or a folder in it. `missing` counts for each list.
    """

    test_fraction: float = field(default=TEST_FRACTION, init=False)  # the test list is the test split
    profile: Profile = field(default="as_is", init=False)
    imbalance: float = field(default=100.0, init=False)
    validation_per_class: int = field(default=0, init=False)
    shots: int | None = field(default=None, init=False)
    train: str | None = None
    test: str | None = None
    lists: str | None = None

    benchmark: ClassVar[Name]
    tasks = frozenset({MULTI_LABEL})

    @property
    def leaves_out(self) -> bool:
        """Whether some annotations do not count, so that the labels of a list are not the labels."""
        return False

    def annotated(self, given: ImageList, split: str, known: LabelSets) -> LabelArray:
        """Returns (N, C) labels of the images of a list, from their annotations. Raises DataError."""
        raise NotImplementedError

    def without_list(self, split: str, known: LabelSets) -> ImageList | None:
        """Returns the images of a split that has no list, without labels; None if nothing names them."""
        return None

    def find(self) -> Found:
        root, known = opened(self.folder), label_sets(self.benchmark)
        files = chosen(root, self.lists, {"train": self.train, "test": self.test}, known.lists)
        if self.lists is not None:  # the archive of the images itself holds some lists
            files = chosen(root, None, {}, known.lists) | files
        self.refuse_ineffective({"test": "the test list"})
        lists, notes = dict[str, ImageList](), list[str]()
        for split in ("train", "test"):
            labelled = False
            if split in files:
                lists[split], labelled = read_sets(files[split], known)
            elif (found := self.without_list(split, known)) is not None:
                lists[split] = found
            else:
                raise DataError(lacking(split, root if self.lists is None else folder_of(self.lists), known))
            lists[split] = self._placed(lists[split], split, known)
            if labelled:
                notes.append(compared(lists[split], split, known))
            if not labelled or self.leaves_out:
                lists[split], said = self._annotated(lists[split], split, labelled, known)
                notes.append(said)
        check_apart(lists, known.keys)
        splits, found_in = joined(Root(root, known.keys, self.benchmark), lists, known.classes, self.missing, known)
        return Found(splits, known.classes, (*notes, *found_in))

    def _placed(self, given: ImageList, split: str, known: LabelSets) -> ImageList:
        """Returns a list whose paths lead to the images where these lie in a usual folder, so that no folder is listed."""
        names = [known.keys.of(path) for path in given.paths]
        lower = [str(path.relative_to(self.folder)) for place in known.places[split] for path in self.folder.glob(f"*/{place}")]
        for place in ("", *known.places[split], *sorted(lower)):
            paths = [f"{place}/{name}" for name in names] if place else list(given.paths)
            if any((self.folder / paths[row]).is_file() for row in (0, len(paths) // 2, -1)):
                return replace(given, paths=paths)
        return given

    def _annotated(self, given: ImageList, split: str, labelled: bool, known: LabelSets) -> tuple[ImageList, str]:
        """Returns a list with the labels of its images' annotations, and how they differ from the list's or the published."""
        labels = self.annotated(given, split, known)
        said = f"{known.titles[split]}: {len(labels):,} images labelled by their annotations"
        if labelled:
            rows = rows_apart(given.labels, labels)
            said += f", {len(rows):,} of them otherwise than by {shown(given.file)}"
            said += f", such as {shown(given.paths[rows[0]])}" if len(rows) else ""
        elif wrong := None if self.leaves_out else difference(labels, split, known):
            log.warning("%s: not as published: %s", said, wrong)
        empty = int((~labels.any(axis=1)).sum())
        return replace(given, labels=labels), f"{said}; {empty:,} of them have no label"


@dataclass(kw_only=True, eq=False)
class VOCLT(Annotated):
    """VOC-LT: 1,142 images of VOC2012 train, the 4,952 of VOC2007 test test. The root holds VOCdevkit, or its year folders.

    difficult: `keep` gives an image the labels of difficult objects too, as the published lists do; `drop` does not, by its
    XML, and keeps an image whose objects are all difficult, without a label.

    Wu et al., 2020, arXiv 2007.09654; Everingham et al., 2010, The PASCAL visual object classes (VOC) challenge, IJCV.
    """

    difficult: Literal["keep", "drop"] = "keep"

    benchmark = "voc_lt"

    @property
    def leaves_out(self) -> bool:
        return self.difficult == "drop"

    def annotated(self, given: ImageList, split: str, known: LabelSets) -> LabelArray:
        classes = {name: label for label, name in enumerate(known.classes)}
        files = [self._xml(path, split, known) for path in given.paths]
        if absent := [file for file in files if not file.is_file()]:
            archive = {"train": "VOCtrainval_11-May-2012.tar", "test": "VOCtest_06-Nov-2007.tar"}[split]
            apart = ", apart from its training images" if split == "test" else ""
            raise DataError(
                f"{len(absent):,} of {len(files):,} annotations of the {known.titles[split]} images are missing, such as "
                f"{shown(absent[0])}: {archive} holds them{apart}, and unpacks into the same folder; or give a list with "
                f"labels, {known.lists[split][0]}"
            )
        sets = [voc_labels(file, classes, self.difficult == "keep") for file in files]
        return hot_of(sets, len(classes))

    def _xml(self, path: str, split: str, known: LabelSets) -> Path:
        """Returns the annotation beside the folder of an image."""
        name = known.keys.of(path).rpartition(".")[0]
        image = self.folder / path
        if image.parent.name != "JPEGImages":
            year = next((place for place in known.places[split] if (self.folder / place).is_dir()), known.places[split][0])
            image = self.folder / year / name
        return image.parent.parent / "Annotations" / f"{name}.xml"


@dataclass(kw_only=True, eq=False)
class COCOLT(Annotated):
    """COCO-LT: 1,909 images of COCO 2017 train, the 5,000 of val2017 test, 48 of these without a label.

    The root holds train2017 and val2017, or images/ with both. Without a test list the images of
    annotations/instances_val2017.json are the test images. crowd: `keep` gives an image the labels of crowds too, as the
    original code does; `drop` does not, by the JSON files.

    Wu et al., 2020, arXiv 2007.09654; Lin et al., 2014, arXiv 1405.0312.
    """

    crowd: Literal["keep", "drop"] = "keep"

    benchmark = "coco_lt"

    @property
    def leaves_out(self) -> bool:
        return self.crowd == "drop"

    def without_list(self, split: str, known: LabelSets) -> ImageList | None:
        if split != "test" or not self._json(split).is_file():
            return None
        paths = list(coco_labels(self._json(split), known.classes, crowd=True))
        return ImageList(self._json(split), paths, hot_of([[] for _ in paths], len(known.classes)))

    def annotated(self, given: ImageList, split: str, known: LabelSets) -> LabelArray:
        file = self._json(split)
        if not file.is_file():
            raise DataError(
                f"{shown(file)} is missing, and the labels of {shown(given.file)} come from it: annotations_trainval2017.zip "
                f"holds it; or give a list with labels, {known.lists[split][0]}"
            )
        found, keys = coco_labels(file, known.classes, self.crowd == "keep"), given.keys(known.keys)
        if absent := [key for key in keys if key not in found]:
            raise DataError(
                f"{shown(file)} lacks {len(absent):,} of the {len(keys):,} images of {shown(given.file)}, such as "
                f"{shown(absent[0])}: is it {file.name} of annotations_trainval2017.zip?"
            )
        return hot_of([found[key] for key in keys], len(known.classes))

    def _json(self, split: str) -> Path:
        name = {"train": "instances_train2017.json", "test": "instances_val2017.json"}[split]
        places = [self.folder / "annotations" / name, self.folder / name]
        return next((place for place in places if place.is_file()), places[0])
