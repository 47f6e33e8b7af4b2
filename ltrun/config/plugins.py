"""Packages of the user's own whose classes a _target_ may name."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import re
from collections.abc import Sequence

from ltrun.config.settings import Settings
from ltrun.errors import ConfigError, did_you_mean

PLUGINS = "LTRUN_PLUGINS"  # environment: packages of one's own, separated by commas, as in plugins=[one,two]


def plugins_of(settings: Settings, overrides: Sequence[str]) -> list[str]:
    """The packages of the command line and of LTRUN_PLUGINS, which are the user's own words; a file, which may be another
    person's, must not open the door to code. Raises ConfigError for a package that is not there.
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
                near = f"{near} Else" if near else ";"
                raise ConfigError(
                    f"{key}: there is no package '{name}'{near} install it, or name the folder it lies in in PYTHONPATH"
                )
    return list(dict.fromkeys([*settings.plugins, *of_environment]))


def _is_there(name: str) -> bool:
    """Whether a package can be imported; imports nothing."""
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # a module of this process that came from no file, such as __main__
        return False
