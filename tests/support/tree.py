"""Paths and names of the tree: the package, its families, the files of options."""

from __future__ import annotations

from pathlib import Path

import ltrun
from ltrun.taxonomy import SLOTS
from tests.support.cases import CONF

PACKAGE = Path(ltrun.__file__).parent
ROOT = CONF.parent
YAMLS = sorted(CONF.rglob("*.yaml"))
OPTION_FILES = [
    path for path in YAMLS if path.parent != CONF and path.relative_to(CONF).parts[0] not in ("local", "hydra", "on")
]
NUMBER_FILES = [path for path in YAMLS if path.relative_to(CONF).parts[0] == "on" and path.parent.name != "method"]
RECIPE_FILES = sorted((CONF / "on" / "method").glob("*.yaml"))  # a method on a data set
PACKAGES = {path.parent.name for path in PACKAGE.glob("*/__init__.py") if path.parent.resolve() != CONF}
FAMILIES = sorted({path.parent.name for path in OPTION_FILES} & PACKAGES)  # family = package = group
PART_FAMILIES = sorted({*SLOTS, "network"} & PACKAGES)  # families of parts and backbones
