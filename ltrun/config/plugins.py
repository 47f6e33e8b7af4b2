"""Plugins: packages of the user whose classes a _target_ may name."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import re
from collections.abc import Sequence

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
    of_environment = list(filter(None, re.split(r"[,:\s]+", os.environ.get(PLUGINS, ""))))
    for key, names in {"plugins": settings.plugins, PLUGINS: of_environment}.items():
        for name in names:
            if not name.isidentifier():
                raise ConfigError(f"{key}: expected names of packages, got {name!r}")
            if not _is_there(name):
                near = did_you_mean(name, [module.name for module in pkgutil.iter_modules()])
                near = f"{near} Otherwise" if near else ";"
                raise ConfigError(
                    f"{key}: there is no package '{name}'{near} install it, or add the folder that holds it to PYTHONPATH"
                )
    return list(dict.fromkeys([*settings.plugins, *of_environment]))


def _is_there(name: str) -> bool:
    """Whether a package can be imported, found without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # a module of this process without a file, such as __main__
        return False
