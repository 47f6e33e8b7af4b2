"""The ten commands of docs/photos.md, followed literally on a small set of photos that this script makes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

PAGE = Path(__file__).parents[1] / "docs" / "photos.md"
COUNTS = {"heron": 40, "lynx": 22, "moth": 12, "newt": 8, "owl": 6}  # photos of each class: a long tail
NEW = 3  # photos of each class that are in no class folder
SIDES = 72, 96  # pixels


def main() -> int:
    """Makes the photos in a temporary home, runs each command there, and returns the exit code of the first that fails."""
    with tempfile.TemporaryDirectory(prefix="ltrun-photos-") as name:
        home = Path(name)
        make(home)
        environment = {**os.environ, "HOME": name, "LTRUN_CACHE": str(home / "cache"), "COLUMNS": "110"}
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
        for command in commands(PAGE.read_text(encoding="utf-8")):
            print(f"\n$ {command}", flush=True)
            if code := subprocess.run(["bash", "-c", command], cwd=home, env=environment, check=False).returncode:
                return code
    return 0


def commands(page: str) -> list[str]:
    """Returns the commands of the first block of a page, without their comments."""
    block = re.search(r"```sh\n(.*?)```", page, re.DOTALL)
    assert block, "the page begins with its commands"
    return [re.sub(r"\s{2,}#.*", "", line) for line in block[1].splitlines() if line.strip()]


def make(home: Path) -> None:
    """Writes home/my_photos/<class>/*.jpg and home/new_photos/*.jpg: stripes; direction, width and colour tell the class."""
    rng = np.random.default_rng(0)
    for label, (name, count) in enumerate(COUNTS.items()):
        for number in range(count + NEW):
            known = home / "my_photos" / name / f"{number:03}.jpg"
            file = known if number < count else home / "new_photos" / f"{name}{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo(label, rng)).save(file, quality=90)


def photo(label: int, rng: np.random.Generator) -> np.ndarray:
    """Returns (72, 96, 3) uint8 pixels of a class."""
    y, x = np.mgrid[: SIDES[0], : SIDES[1]]
    angle = label * np.pi / len(COUNTS) + rng.normal(0, 0.1)
    stripes = np.sin((x * np.cos(angle) + y * np.sin(angle)) / (2 + label) + rng.uniform(0, 6))
    colour = np.array([90 + 30 * label, 170 - 20 * label, 120]) + rng.normal(0, 15, 3)
    pixels = colour * (1 + 0.4 * stripes[..., None]) + rng.normal(0, 12, (*SIDES, 3))
    return np.asarray(pixels.clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    sys.exit(main())
