"""The folder of a reader of the documents: data, photos, options and a package, finished runs."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

import numpy as np
import yaml

from tests.support.data_fakes import class_folders, encoded, random_images, write_parquet
from tests.support.documents import REPOSITORY

SMALL = {
    "_target_": "ltrun.margin.LDAM",
    "max_margin": 0.1,
}
MINE = '''"""A part of the reader's own."""

from torch import Tensor

from ltrun.parts import Adjust
from ltrun.types import Outputs

__all__ = ["Mine"]


class Mine(Adjust):
    """Doubles the logits of the loss."""

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits * 2
'''
IMAGES = 100  # per class of CIFAR, enough for an imbalance of 100


def cifar(root: Path, classes: int, label: str) -> None:
    """Writes train.parquet and test.parquet with images of one colour each, which are quick to decode."""
    labels = np.arange(classes * IMAGES) % classes
    colours = random_images(len(labels), size=1)
    cells = [{"bytes": encoded(np.broadcast_to(colour, (32, 32, 3)).copy()), "path": ""} for colour in colours]
    for split, count in (("train", len(labels)), ("test", 2 * classes)):
        write_parquet(root / f"{split}.parquet", cells[:count], labels[:count].tolist(), label=label)


def photos(root: Path) -> None:
    """Writes root/<class>/*: PNG of two sizes, JPEG, and grey PNG."""
    class_folders(root, {"heron": 12, "lynx": 6, "moth": 4}, size=48)
    for name in ("heron", "lynx", "moth"):
        (root / name / "photo.jpg").write_bytes(encoded(random_images(1, 80)[0], "JPEG"))
        (root / name / "grey.png").write_bytes(encoded(random_images(1, 40)[0][:, :, 0]))


def own_options(folder: Path) -> None:
    """Writes options/ with a margin, and a logit adjustment whose class is in mypackage/; `ltrun check` passes them."""
    for name, content in {
        "margin/small": {"adjust": SMALL},
        "logit_adjustment/mine": {"adjust": {"_target_": "mypackage.Mine"}},
    }.items():
        (folder / "options" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "options" / f"{name}.yaml").write_text(
            f"# A reader's own.\n# no citation: an example\n{yaml.safe_dump(content)}"
        )
    (folder / "mypackage").mkdir()
    (folder / "mypackage" / "__init__.py").write_text(MINE)


def furnish(folder: Path, data: Path, runs: Path) -> None:
    """Writes folder/home and folder/work. data: the folder that `cifar` wrote. runs: the folder of the sweep of `make run`."""
    home, work = folder / "home", folder / "work"
    (home / ".config" / "fish" / "completions").mkdir(parents=True)
    work.mkdir()
    shutil.copytree(data, work / "data")
    shutil.copytree(runs / "outputs", work / "outputs")
    shutil.copy(next((runs / "outputs").glob("*/erm/*/seed0/result.json")), work / "result.json")
    for root in (home / "my_photos", home / "new_photos", work / "my_photos"):
        photos(root)
    for name in ("my photos (1)", "photos (1)"):
        photos(work / name / "train")
        class_folders(work / name / "test", {"heron": 3, "lynx": 3, "moth": 3}, size=48, seed=9)
    own_options(work)
    (work / ".venv").symlink_to(sys.prefix)


def environment(folder: Path) -> dict[str, str]:
    """Returns the environment of a reader's shell: one thread, 88 columns, the environment of the repository in PATH."""
    kept = ("LANG", "LC_ALL", "TMPDIR", "LTRUN_CACHE", "LTRUN_COMPOSED", "MPLCONFIGDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "HOME": str(folder / "home"),
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(folder / "work"), str(REPOSITORY)]),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "88",
    }
