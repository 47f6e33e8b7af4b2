"""Slots, parts, keys and defaults of an option, read from its YAML file alone. Needs no torch and no Hydra."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources.abc import Traversable
from pathlib import Path

import yaml

from ltrun.config import catalogue
from ltrun.config.catalogue import Option
from ltrun.errors import ConfigError

GLOBAL = re.compile(r"^#\s*@package\s+_global_", re.MULTILINE)
CHOICE = re.compile(r"(?:override )?/?(?P<group>\w+)(?:@(?P<package>[\w.]+))?")


NAMED = ("augments", "mixers", "feature_mixers", "streams", "terms", "teachers")  # roles of several parts


@dataclass(frozen=True)
class Key:
    """A dotted key as a user types it, its default as the file spells it, and the comment beside it."""

    path: str
    default: str
    comment: str = ""


@dataclass(frozen=True)
class Setting:
    """One option. package: the place of its keys, if that is not its group. choices: the options that its file chooses, as
    (group, name, package).
    """

    group: str
    option: Option
    file: Path
    keys: tuple[Key, ...]
    parts: tuple[str, ...]
    choices: tuple[tuple[str, str, str], ...]
    package: str

    @property
    def word(self) -> str:
        return f"{self.group}={self.option.name}"


def setting(group: str, name: str, more: Sequence[Path] = (), package: str | None = None) -> Setting:
    """Reads an option from its file. package: the place of its keys, if not its group.

    Raises ConfigError if there is no such option, or if its file cannot be read as YAML.
    """
    file = catalogue.file_of(group, name, more)
    node, text = _read(file)
    place = package if package is not None else "" if GLOBAL.search(text) else group
    keys = [key for key in _leaves(node, place, text) if not key.path.startswith("defaults")]
    parts = [key.default for key in keys if key.path.endswith("_target_")]
    keys = [key for key in keys if not key.path.endswith("_target_")]
    option = catalogue.option_of(file)
    return Setting(group, option, Path(str(file)), tuple(keys), tuple(parts), tuple(_choices(node)), package or "")


def clash(group: str, names: Sequence[str], more: Sequence[Path] = ()) -> tuple[str, str, str] | None:
    """Returns the first place that two options of one list fill differently, and the two: the second would silently win.

    None for a list with an option that there is not, which Hydra refuses.
    """
    if not set(names) <= catalogue.names(more).get(group, set()):
        return None
    filled: dict[str, tuple[str, dict[str, str]]] = {}
    for name in names:
        node, text = _read(catalogue.file_of(group, name, more))
        own: dict[str, dict[str, str]] = {}
        for key in _leaves(node, "", text):
            role, *steps = key.path.split(".")
            own.setdefault(".".join([role, *steps[:1]]) if role in NAMED else role, {})[key.path] = key.default
        for place, content in own.items():
            first, before = filled.setdefault(place, (name, content))
            if before != content:
                return place, first, name
    return None


def root() -> tuple[list[Key], dict[str, str]]:
    """Returns the keys of config.yaml without Hydra's own, and group -> the option that it chooses."""
    node, text = _read(catalogue.folders()[0] / "config.yaml")
    keys = [key for key in _leaves(node, "", text) if not key.path.startswith(("defaults", "hydra."))]
    return keys, {group: name for group, name, _ in _choices(node)}


def _read(file: Traversable) -> tuple[yaml.Node, str]:
    try:
        text = file.read_text(encoding="utf-8")
        node = _node_of(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} cannot be read as YAML: {' '.join(str(error).split())}") from None
    return node if isinstance(node, yaml.MappingNode) else yaml.MappingNode("", []), text


@lru_cache(maxsize=64)
def _node_of(text: str) -> yaml.Node | None:
    """Parses a file; config.yaml and the data sets are asked for again and again. The result must not be changed."""
    node: yaml.Node | None = yaml.compose(text, yaml.SafeLoader)
    return node


def _leaves(node: yaml.Node, path: str, text: str) -> Iterator[Key]:
    if isinstance(node, yaml.MappingNode) and (node.value or not path):
        for name, value in node.value:
            yield from _leaves(value, f"{path}.{name.value}" if path else str(name.value), text)
        return
    written = re.sub(r",\s+", ",", " ".join(text[node.start_mark.index : node.end_mark.index].split()))
    rest = text[node.end_mark.index :].partition("\n")[0]
    comment = rest.partition("#")[2].strip() if re.match(r"\s*#", rest) else ""
    yield Key(path, written or "null", comment)


def _choices(root: yaml.Node) -> Iterator[tuple[str, str, str]]:
    """Yields (group, option, package) of each entry of a defaults list."""
    for name, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if name.value != "defaults" or not isinstance(value, yaml.SequenceNode):
            continue
        for entry in value.value:
            for key, chosen in entry.value if isinstance(entry, yaml.MappingNode) else ():
                found = CHOICE.fullmatch(str(key.value))
                if found and isinstance(chosen, yaml.ScalarNode):
                    yield found["group"], str(chosen.value), found["package"] or ""
