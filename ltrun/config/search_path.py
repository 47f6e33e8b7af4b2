"""Search path of options from outside ltrun: announced when used, and unable to make Hydra run code.

`bind` checks the parts of an option against the allowed packages. Hydra itself would instantiate everything under `hydra`
(callbacks, logging handlers) before ltrun sees it, so a user's files may not write there; the command line may.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin

from ltrun.config import catalogue
from ltrun.errors import ConfigError

LARGEST = 2**20  # bytes of one YAML file
PACKAGE = re.compile(r"#\s*@package\s+(\S+)")


class SearchPath(SearchPathPlugin):
    """Appends the user's option folders to Hydra's search path, after ltrun's own."""

    folders: ClassVar[Sequence[Path]] = ()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in self.folders:
            search_path.append("ltrun", str(folder.absolute()))


def folders(argv: Sequence[str]) -> list[Path]:
    """Returns the folders that this command line and LTRUN_SEARCHPATH add to the search path."""
    found = [value for word, value in itertools.pairwise(argv) if word in ("--config-dir", "-cd")]
    found += [word.partition("=")[2] for word in argv if word.startswith(("--config-dir=", "-cd="))]
    entries = []
    for word in argv:
        if word.lstrip("+").startswith("hydra.searchpath="):
            try:
                value = OverridesParser.create().parse_override(word).value()
            except HydraException:
                continue  # Hydra will say what is wrong with it
            entries += [str(item) for item in value] if isinstance(value, list) else [str(value)]
    found += [entry.removeprefix("file://") for entry in entries if not entry.startswith("pkg:")]
    return [*map(Path, found), *catalogue.from_environment()]


def words_of(argv: Sequence[str]) -> list[str]:
    """Returns words that name the same folders on a command line, including those of LTRUN_SEARCHPATH."""
    first, *others = [str(folder) for folder in folders(argv)] or [""]
    listed = ",".join(QuotedString(folder.replace("${", r"\${"), Quote.single).with_quotes() for folder in others)
    return [*(["--config-dir", first] if first else []), *([f"hydra.searchpath=[{listed}]"] if others else [])]


def without_flags(argv: Sequence[str]) -> list[str]:
    """Returns the overrides among the words of a command line."""
    taken = {index + 1 for index, word in enumerate(argv) if word in ("--config-dir", "-cd")}
    return [word for index, word in enumerate(argv) if index not in taken and not word.startswith("-")]


def use(argv: Sequence[str]) -> None:
    """Adds the folders of this command line to Hydra's search path, and prints them.

    Raises ConfigError for a missing folder, and for a file that configures Hydra or has the name of an option of ltrun.
    """
    if sum(word.startswith(("--config-dir", "-cd")) for word in argv) > 1:
        raise ConfigError("--config-dir is given more than once, but Hydra reads only one; name the others in LTRUN_SEARCHPATH")
    named = folders(argv)
    admit(named)
    for folder in named:
        print(f"options are also read from {folder}")
    local = _local()
    if (local / "default.yaml").is_file():
        print(f"options are also read from {local / 'default.yaml'}")


def admit(named: Sequence[Path]) -> None:
    """Has Hydra read these folders, and no others, after ltrun's own. Raises ConfigError as `use` does."""
    SearchPath.folders = catalogue.existing(named)
    Plugins.instance().register(SearchPath)
    for folder in [*named, _local()]:
        for file in sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")]):
            inside = file.relative_to(folder)
            if folder != _local() and (Path(str(catalogue.folders()[0])) / inside).exists():
                raise ConfigError(f"{file} has the name of an option of ltrun, which Hydra would read instead; rename it")
            _check(file, inside)


def _local() -> Path:
    return Path(str(catalogue.folders()[0])) / "local"


def _check(file: Path, inside: Path) -> None:
    refusal = ConfigError(f"{file} configures Hydra itself, which only the command line may do: remove its 'hydra' entries")
    if inside.parts[0] == "hydra":
        raise refusal
    if file.stat().st_size > LARGEST:
        raise ConfigError(f"{file} is larger than {LARGEST >> 20} MiB, which no option is; remove it from the folder")
    try:
        text = file.read_text(encoding="utf-8")
        # an alias bomb stays small as long as nobody walks it, so events are counted before anything is built
        if sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)) > 100:
            raise ConfigError(f"{file} has more than 100 aliases, which no option needs; write the values out")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from None
    header = PACKAGE.search(text)
    if header and _is_hydra(header[1]):
        raise refusal
    if isinstance(content, dict):
        if any(_is_hydra(str(key)) for key in content):
            raise refusal
        if any(_is_hydra(part) for entry in _texts(content.get("defaults", [])) for part in re.split(r"[@ :]+", entry)):
            raise refusal


def _is_hydra(name: str) -> bool:
    return re.match(r"/?(_global_\.)?hydra($|[./])", name) is not None


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from _texts(value)
    elif isinstance(node, list):
        for item in node:
            yield from _texts(item)
    else:
        yield str(node)
