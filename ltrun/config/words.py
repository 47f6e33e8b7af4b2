"""Quoting of a command line: from the shell's words to Hydra's grammar, and from overrides back to a printed command.

Hydra reads `photos (1)`, `Größe`, `a=b` or `2024` in a grammar of its own, in which they are calls, errors or numbers. A path
or a name is always text, whatever its characters; any other value is quoted if Hydra cannot read it.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from ltrun.config import catalogue
from ltrun.errors import ConfigError, did_you_mean, nearest
from ltrun.machine import at_home, written
from ltrun.results.renamed import todays_words
from ltrun.taxonomy import MERGING

MULTIRUN = ("-m", "--multirun")
CONFIG_DIR = ("--config-dir", "-cd")
WITH_VALUE = (
    *CONFIG_DIR, "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--info", "-i",
    "--experimental-rerun",
)  # fmt: skip
ALONE = (*MULTIRUN, "--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--shell-completion", "-sc")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")  # values of --info
PATHS = ("root", "outputs", "folder", "dir", "directory", "path", "file")  # last words of keys whose value is a path
FILES = ("weights", "init", "checkpoint", "pretrained")  # last words of keys whose value may be a path
TEXTS = ("dataset.name",)
FUNCTIONS = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|int|float|str|bool|json_str|extend_list)\(.*\)\s*")
QUOTED = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\s*(?=[],)}]|$)""")
PLAIN = re.compile(r"(?!(?:true|false|null|nan|inf)$)[A-Za-z_/][\w./-]*", re.IGNORECASE | re.ASCII)
INTERPOLATION = re.compile(r"\$\{[^{}].*\}")


def for_hydra(argv: Sequence[str], allowed: Sequence[str] = (*WITH_VALUE, *ALONE)) -> list[str]:
    """Returns flags and overrides, quoted for Hydra. If a key is given twice, the last word counts, and a message says so.

    Raises ConfigError for a flag that is not allowed, and for a word that is not an override.
    """
    flags, overrides = flags_and_overrides(argv)
    if wrong := next((word for word in argv if word.startswith("-") and word.partition("=")[0] not in allowed), None):
        raise ConfigError(f"{wrong}: this command has no such flag; leave it out")
    if "-sc" in flags or "--shell-completion" in flags:
        return list(argv)  # `-sc install=bash` is not an override
    sweep = any(flag in MULTIRUN for flag in flags)
    names = catalogue.names([Path(folder) for flag, folder in itertools.pairwise(flags) if flag in CONFIG_DIR])
    quoted: dict[str, str] = {}
    for word in todays_words(overrides):
        read = word if word.startswith("~") else _quoted(word, names, sweep)
        key = word.lstrip("+~").partition("=")[0]
        if quoted.setdefault(key, read) != read:
            print(f"{key} is given twice, and the last word counts: {word}", file=sys.stderr)
            del quoted[key]  # the key moves to the place of the word that counts
            quoted[key] = read
    return [*flags, *quoted.values()]


def words_of(overrides: Sequence[str]) -> list[str]:
    """Returns the words to type for overrides of Hydra's, quoted for Hydra only where `for_hydra` would not quote them."""
    return [_unquoted(override) for override in overrides]


def command_line(words: Sequence[str], *command: str) -> str:
    """Returns `ltrun ...`, quoted for the shell. command: the subcommand, if any."""
    return shlex.join(["ltrun", *command, *words])


def flags_and_overrides(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separates flags, each with its value, from overrides: Hydra wants its flags before the first override."""
    flags: list[str] = []
    overrides: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        if not word.startswith("-"):
            overrides.append(word)
        elif flag in ("--info", "-i"):  # without a value, Hydra would take the next override for one
            follows = value if equals else words.pop(0) if words and words[0] in INFO else "all"
            flags.append(f"--info={follows}")
        elif flag in WITH_VALUE:
            if not (value if equals else words and words[0]):
                wanted = "names no folder; give one" if flag in CONFIG_DIR else "has no value; give one"
                raise ConfigError(f"{flag}: {wanted} after it")
            value = value if equals else words.pop(0)
            flags += [flag, at_home(value, flag) if flag in CONFIG_DIR else value]
        elif flag in ALONE and not equals:
            flags.append(word)
        else:
            known = [name for name in (*WITH_VALUE, *ALONE) if name.startswith("--")]
            listed = "; ltrun --help and ltrun --hydra-help list them, and a setting has no dashes: method=ldam"
            raise ConfigError(f"there is no flag '{flag}'{did_you_mean(flag, known) if nearest(flag, known) else listed}")
    return flags, overrides


def _quoted(word: str, names: Mapping[str, set[str]], sweep: bool) -> str:
    """Quotes the value of an override so that Hydra reads it as the user means it."""
    key, equals, value = word.partition("=")
    bare = key.lstrip("+")
    if not equals:
        raise ConfigError(f"'{word}' sets nothing: write {_setting(bare, names)}, or leave it out")
    if not bare.strip():
        raise ConfigError(f"'{word}' names no key: write KEY=VALUE, as in method=ldam")
    group = bare.partition("@")[0]
    if group in names:
        return f"{key}={_Choice(key, sweep, names[group]).spelled(value)}"
    last = re.split(r"[._]", bare)[-1]
    kind = _Path if last in PATHS or bare in TEXTS else _File if last in FILES else _Value
    return f"{key}={kind(key, sweep).spelled(value)}"


def _setting(bare: str, names: Mapping[str, set[str]]) -> str:
    """Returns an override that a word without = may have meant."""
    if bare in names:
        return f"{bare}=NAME"
    if groups := [f"{group}={bare}" for group in names if bare in names[group]]:
        return " or ".join(groups[:3])
    if pair := re.fullmatch(r"([\w.]+):\s*(\S+)", bare):
        return f"{pair[1]}={pair[2]}"
    return f"{bare}=VALUE" if re.fullmatch(r"[\w.@/-]+", bare) else "KEY=VALUE"


class _Value:
    """A value of any kind: quoted if Hydra cannot read it, or would strip blanks from its ends."""

    def __init__(self, key: str, sweep: bool) -> None:
        self.key, self.sweep = key, sweep
        self.calls = True

    def spelled(self, text: str) -> str:
        if self.is_literal(text):
            return self.literal(text)
        if QUOTED.fullmatch(text) or (self.calls and FUNCTIONS.fullmatch(text)):
            return text
        if len(pieces := _pieces(text)) > 1:
            if not self.sweep:
                return self.of_several(text)
            return ",".join(self.spelled(piece) for piece in self.together(pieces))
        return self.single(text)

    def is_literal(self, text: str) -> bool:
        """Whether the text is meant literally, whatever it means in Hydra's grammar."""
        return False

    def of_several(self, text: str) -> str:
        """Spells a text with commas outside a sweep. Raises ConfigError if the commas seem to separate values."""
        if re.fullmatch(r"[^\w\s]", text[:1]):
            return self.single(text)
        raise ConfigError(
            f"{self.key}={text} gives several values: only a sweep, ltrun -m ..., takes and trains them one by one; "
            f"a list is written '{self.key}=[{text}]'"
        )

    def together(self, pieces: Sequence[str]) -> list[str]:
        return [piece.strip() for piece in pieces]

    def single(self, text: str) -> str:
        home = text == "~" or text.startswith("~/")
        if not home and (value := _value_of(text)) is not _UNREADABLE:
            return self.literal(text) if isinstance(value, str) and text != value == text.strip() else text
        if text[:1] == "[" and text[-1:] == "]":
            return f"[{','.join(self.spelled(piece.strip()) for piece in _pieces(text[1:-1]))}]"
        return text if text[:1] in "[{'\"" else self.literal(text)

    def literal(self, text: str) -> str:
        return text_of(_at_home(text, self.key))


class _File(_Value):
    """A value of any kind that may name a file: the text of an existing path is one value."""

    def is_literal(self, text: str) -> bool:
        return _exists(text)

    def together(self, pieces: Sequence[str]) -> list[str]:
        """Joins pieces between commas that together are one existing path."""
        found: list[str] = []
        start = 0
        while start < len(pieces):
            ends = (end for end in range(len(pieces), start + 1, -1) if self.is_literal(",".join(pieces[start:end])))
            end = next(ends, start + 1)
            piece = ",".join(pieces[start:end])
            found.append(piece if self.is_literal(piece) else piece.strip())
            start = end
        return found

    def literal(self, text: str) -> str:
        if self.sweep and "," in text:
            print(f"{self.key}: '{text}' exists, so it is one value of the sweep")
        return text_of(_at_home(text, self.key), self.is_literal(text))


class _Path(_File):
    """A path or a name: always text, unless it is null."""

    def __init__(self, key: str, sweep: bool) -> None:
        super().__init__(key, sweep)
        self.calls = sweep

    def of_several(self, text: str) -> str:
        return self.literal(text)

    def single(self, text: str) -> str:
        return text if text == "" or text.lower() == "null" else self.literal(text)


class _Choice(_Path):
    """An option of a group, or a list of options."""

    def __init__(self, key: str, sweep: bool, names: set[str]) -> None:
        super().__init__(key, sweep)
        self.names = names

    def is_literal(self, text: str) -> bool:
        return text in self.names

    def of_several(self, text: str) -> str:
        mended = f"; to combine them, write '{self.key}=[{text}]'" if self.key in MERGING else ""
        raise ConfigError(
            f"{self.key}={text} names several options: only a sweep, ltrun -m ..., takes and trains them one by one{mended}"
        )

    def single(self, text: str) -> str:
        if text[:1] == "[" and text[-1:] == "]":
            items = _pieces(text[1:-1]) if text[1:-1].strip() else []
            return f"[{','.join(_Choice(self.key, True, self.names).spelled(item.strip()) for item in items)}]"
        return super().single(text)


_UNREADABLE = object()


def _value_of(text: str) -> object:
    """Returns the value that Hydra reads in a text, or _UNREADABLE."""
    try:
        return _parsed(f"key={text}").value()
    except HydraException:
        return _UNREADABLE


def _parsed(override: str) -> Override:
    return OverridesParser.create().parse_override(override)


def _unquoted(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals or not QUOTED.fullmatch(value):
        return override
    text = _parsed(override).value()
    typed = f"{key}={text}"
    try:
        same = _parsed(for_hydra([typed])[0]).value() == text
    except (ConfigError, HydraException):
        same = False
    return typed if same else override


def _pieces(text: str) -> list[str]:
    """Splits a text at the commas outside brackets and quotes."""
    found, start, depth, place = [], 0, 0, 0
    while place < len(text):
        begins = place == start or text[place - 1] in "([{,:="
        if begins and (quoted := QUOTED.match(text, place)):
            place = quoted.end()
            continue
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(text[place], 0)
        if text[place] == "," and depth == 0:
            found.append(text[start:place])
            start = place + 1
        place += 1
    return text.split(",") if depth else [*found, text[start:]]


def _exists(text: str) -> bool:
    return text != "" and (os.path.lexists(text) or os.path.lexists(written(text)))


def _at_home(text: str, key: str) -> str:
    """Expands ~ in a text, unless it names an existing file or folder, such as one called ~x."""
    if not text.startswith("~"):
        return text
    name = text.partition("/")[0]
    return f"./{text}" if name != "~" and os.path.lexists(text) else at_home(text, key)


def text_of(text: str, literal: bool = False) -> str:
    """Spells a text in Hydra's grammar. literal: neither `${` nor `\\${` in it has a meaning there."""
    if literal or ("${" in text and not INTERPOLATION.search(text) and r"\${" not in text):
        text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    return text if PLAIN.fullmatch(text) else QuotedString(text, Quote.single).with_quotes()
