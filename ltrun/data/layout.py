"""Splits of an image folder: its training, test and validation folders, found by their names."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ltrun.data.class_folders import HIDDEN, inside, is_folder, is_image, refuse_lost, tell_loose
from ltrun.data.images import shown
from ltrun.errors import DataError

NAMES = {"train": "train", "test": "test", "val": "val", "validation": "val"}  # compared in lower case
WORDS = NAMES | {
    "training": "train", "testing": "test", "valid": "val", "validate": "val", "validating": "val",
    "dev": "val", "development": "val", "eval": "eval", "evaluation": "eval",
}  # fmt: skip
BESIDE = {"set", "data", "dataset", "split", "folder", "dir", "images", "image", "imgs", "img", "photos", "pictures", "seg"}

TITLES = {"train": "training", "test": "test", "val": "validation"}

log = logging.getLogger(__name__)


def splits_of(root: Path) -> dict[str, Path]:
    """Returns split -> its folder of class folders: `train`, and `test` and `val` where they exist; {train: root} without any.

    A folder is known by its name, in any case and with words such as `set` or `seg` beside it: `Training`, `train_set`. If no
    training folder is found so, any words may stand beside it. A folder that holds nothing but one folder of class folders
    stands for the inner folder. `eval` is the test split, or the validation split beside another test split; `val`, `valid` and
    `dev` are the test split where no other folder is. Logs each folder that is taken for a split under another name, and each
    folder that is left out. Raises DataError where the choice would be a guess.
    """
    top = _only(root)
    for path in top.iterdir():
        if split_of(path.name):
            refuse_lost(path)
    labelled = _labelled(top, root, split_of)
    if "train" not in map(split_of, (path.name for path in labelled)):
        labelled = _labelled(top, root, loosely)
    if not labelled:
        _refuse_lower(top)
        _refuse_unlabelled(top)
        return {"train": top}
    chosen = _choose(list(labelled))
    if "train" not in chosen:
        _refuse_lower(top)
        found = " and ".join(path.name for path in chosen.values())
        way_out = "rename the folder of training images to 'train'"
        raise DataError(f"{shown(top)} holds {shown(found)} and no folder 'train' with class folders: {way_out}")
    if "test" not in chosen and "val" in chosen:
        chosen["test"] = chosen.pop("val")
    _tell(top, chosen)
    return {split: labelled[path] for split, path in chosen.items()}


def split_of(name: str) -> str | None:
    """Returns train, test, val or eval, for a name that says one of them and nothing else; else None."""
    return None if any(word and word not in {*WORDS, *BESIDE} for word in _words(name)) else loosely(name)


def loosely(name: str) -> str | None:
    """Returns train, test, val or eval, for a name that says one of them among other words: `asl_alphabet_train`."""
    found = {WORDS[word] for word in _words(name) if word in WORDS}
    return found.pop() if len(found) == 1 else None


def splits_meant(words: Iterable[str]) -> dict[str, str | None]:
    """Returns word -> train, test or val, for words that name splits in place of folders; None for a word that names none.

    As with folders, `eval` is the test split, or the validation split beside another test split, and `val`, `valid` and `dev`
    are the test split where no other word is.
    """
    found = {word: split_of(word) for word in words}
    evaluation = "val" if "test" in found.values() else "test"
    found = {word: evaluation if split == "eval" else split for word, split in found.items()}
    if "test" not in found.values():
        found = {word: "test" if split == "val" else split for word, split in found.items()}
    return found


def _words(name: str) -> list[str]:
    """Returns the words of a name, without an ending such as `set` in `trainset`."""
    return [re.sub("(set|data|images|imgs)$", "", word) for word in re.findall(r"[^\W\d_]+", name.lower())]


def _labelled(top: Path, root: Path, named: Callable[[str], str | None]) -> dict[Path, Path]:
    """Returns folder named as a split -> the folder in it that holds class folders."""
    folders = [path for path in _folders(top) if named(path.name)]
    for path in folders:
        inside(path, root)
    return {path: within for path in folders if _folders(within := _only(path))}


def _choose(labelled: Sequence[Path]) -> dict[str, Path]:
    """Returns split -> its folder; of several candidates, the folder with the exact name. Raises DataError for a tie."""
    chosen: dict[str, Path] = {}
    for split in ("train", "test", "val", "eval"):
        named = [path for path in labelled if loosely(path.name) == split]
        exact = [path for path in named if path.name.lower() in NAMES]
        if len(named) > 1 and not exact:
            raise DataError(
                f"{shown(named[0])} and {shown(named[1])} are both named like a {split} split: rename one of them to {split}, "
                "or move the other away"
            )
        if len(exact) > 1 and exact[0].name.lower() == exact[1].name.lower():
            both = f"{shown(exact[0])} and {shown(exact[1])} differ only in case and are both the {split} split"
            raise DataError(f"{both}: make one folder of them, or move one away")
        if named:
            chosen[split] = (exact or named)[0]
    if evaluation := chosen.pop("eval", None):
        chosen.setdefault("val" if "test" in chosen else "test", evaluation)
    return chosen


def _tell(top: Path, chosen: Mapping[str, Path]) -> None:
    """Logs the folders that are a split under another name, and the folders that are left out."""
    for split, path in chosen.items():
        if NAMES.get(path.name.lower()) != split:
            instead = ", because there is no test folder" if split == "test" and loosely(path.name) != "test" else ""
            log.info("%s is the %s split%s", shown(path), TITLES[split], instead)
    tell_loose(top, _images(top))
    splits = ", ".join(path.name for path in chosen.values())
    for path in _folders(top):
        if path not in chosen.values():
            what = " holds images without class folders and" if split_of(path.name) and has_images(path) else ""
            log.warning("%s%s is left out: the splits are %s", shown(path), what, shown(splits))


def _refuse_unlabelled(top: Path) -> None:
    """Raises DataError if train and test hold images without class folders, and would pass for two classes."""
    folders = [path for path in _folders(top) if split_of(path.name)]
    if len(folders) > 1 and folders == _folders(top):
        raise DataError(
            f"{shown(folders[-1])} holds no class folders: put the images of each class into a folder of its own there"
        )
    for path in folders:
        log.warning("%s is taken for a class, though it is named like a split", shown(path))


def _refuse_lower(top: Path) -> None:
    """Raises DataError if the training folder lies in a folder below the root, and names that folder."""
    places = [_only(folder) for folder in _folders(top) if not folder.is_symlink()]
    lower = [path for place in places for path in _folders(place) if split_of(path.name) == "train"]
    for path in lower:
        if any(has_images(folder) for folder in _folders(_only(path))):
            where = f"{shown(path)} lies deeper than a split of {shown(top)}"
            raise DataError(f"{where}: give dataset.root={shown(path.parent)}")
    for path in lower:
        if has_images(path):
            where = f"{shown(path)} holds no class folders"
            way_out = "put the images of each class into a folder of its own there"
            raise DataError(f"{where}: {way_out}, and give dataset.root={shown(path.parent)}")


def _only(path: Path) -> Path:
    """Returns the folder that lies alone in `path`, if it holds folders (seg_train/seg_train, as unpacked); else `path`."""
    while len(alone := _folders(path)) == 1 and not has_images(path) and _folders(alone[0]):
        if split_of(alone[0].name) and not split_of(path.name):
            break
        log.info("%s is taken for %s, because it is the only folder there", shown(alone[0]), shown(path.name))
        path = alone[0]
    return path


def _folders(path: Path) -> list[Path]:
    """Returns the folders in a folder, sorted by name, without hidden folders and links that cannot be followed."""
    with os.scandir(path) as listing:
        return sorted(Path(entry.path) for entry in listing if not entry.name.startswith(HIDDEN) and is_folder(entry))


def has_images(path: Path) -> bool:
    """Returns whether files in the folder itself are named as images."""
    return bool(_images(path))


def _images(path: Path) -> list[os.DirEntry[str]]:
    with os.scandir(path) as listing:
        images = (entry for entry in listing if not entry.name.startswith(HIDDEN) and is_image(entry))
        return sorted(images, key=lambda entry: entry.name)
