"""Plugins: packages of the user whose classes a _target_ may name."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import re
from collections.abc import Sequence
from pathlib import Path

from ltrun.config.settings import Settings
from ltrun.errors import ConfigError, did_you_mean

PLUGINS = "LTRUN_PLUGINS"  # environment variable: names of packages, separated by commas, as in plugins=[one,two]


def plugins_of(settings: Settings, overrides: Sequence[str]) -> list[str]:
    """Returns the packages that the command line and LTRUN_PLUGINS name.

    Raises ConfigError for a package that is not installed, and for one that only a file names: a file may come from somebody
    else, who must not choose the code to import.
    """
    if settings.plugins and not any(override.lstrip("+").startswith("plugins=") for override in overrides):
        raise ConfigError(f"plugins: packages are named on the command line only, as plugins=[mypackage], or in {PLUGINS}")
    of_environment = from_environment()
    for key, names in {"plugins": settings.plugins, PLUGINS: of_environment}.items():
        refuse_missing(key, names)
    return list(dict.fromkeys([*settings.plugins, *of_environment]))


def from_environment() -> list[str]:
    """The packages in LTRUN_PLUGINS."""
    return list(filter(None, re.split(r"[,:\s]+", os.environ.get(PLUGINS, ""))))


def refuse_missing(key: str, names: Sequence[str]) -> None:
    """Raises ConfigError for a name that is not a package's, and for a package that is not installed; imports nothing."""
    for name in names:
        if not name.isidentifier():
            raise ConfigError(f"{key}: expected the name of a package, such as mypackage, got {name!r}")
        if not _is_there(name):
            near = did_you_mean(name, [module.name for module in pkgutil.iter_modules()])
            near = f"{near} Otherwise" if near else ";"
            way_out = "install it, or add the folder that holds it to PYTHONPATH"
            if Path(name).is_dir() or Path(f"{name}.py").is_file():
                way_out += ": it is in this folder, so put PYTHONPATH=. before the command"
            raise ConfigError(f"{key}: there is no package '{name}'{near} {way_out}")


def _is_there(name: str) -> bool:
    """Whether a package can be imported, found without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # a module of this process without a file, such as __main__
        return False
