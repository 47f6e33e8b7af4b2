"""Paths and names of the tree: the package, its families, the files of options."""

from __future__ import annotations

from pathlib import Path

import ltrun
from ltrun.taxonomy import SLOTS
from tests.support.cases import CONF

PACKAGE = Path(ltrun.__file__).parent
ROOT = CONF.parent
YAMLS = sorted(CONF.rglob("*.yaml"))
OPTION_FILES = [path for path in YAMLS if path.parent != CONF and path.parent.name not in ("local", "hydra")]
PACKAGES = {path.parent.name for path in PACKAGE.glob("*/__init__.py") if path.parent.resolve() != CONF}
FAMILIES = sorted({path.parent.name for path in OPTION_FILES} & PACKAGES)  # family = package = group
PART_FAMILIES = sorted({*SLOTS, "network"} & PACKAGES)  # families of parts and backbones
