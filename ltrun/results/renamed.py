"""Renamed arguments of data sets and unnamed tables of augmentations: recorded configurations and typed words of today."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ltrun.results.address import RENAMED, class_name

TYPED = {f"dataset.{old}": f"dataset.{new}" for names in RENAMED.values() for old, new in names.items()}
"""Key of the command line as it was -> as it is."""

SWEEP = {"sweep=[]": "sweep.commands=[]"}  # of a job of an experiment, when `sweep` was the list of its command lines


def with_todays_names(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of a record or of a waiting job whose keys, changes and command have the names of today."""
    found = dict(content)
    config = found.get("config")
    if not isinstance(config, Mapping):
        return found
    if isinstance(config.get("sweep"), list):
        config = found["config"] = {**config, "sweep": {"commands": config["sweep"]}}
        found["command"] = [_word(word) for word in found.get("command", [])]
    if isinstance(config.get("sweep"), Mapping):
        config = found["config"] = {**config, "sweep": {"budget": None, "references": False, **config["sweep"]}}
    dataset = config.get("dataset")
    if not isinstance(dataset, Mapping):
        return found
    names = RENAMED.get(str(class_name(dataset.get("_target_"))), {})
    if not names.keys() & dataset.keys():
        return found
    found["config"] = {**config, "dataset": {names.get(key, key): value for key, value in dataset.items()}}
    found["changes"] = {TYPED.get(key, key): value for key, value in found["changes"].items()}
    found["command"] = [_word(word) for word in found["command"]]
    return found


def todays_words(words: Sequence[str]) -> list[str]:
    """Returns the words of a command line with the names that their keys have today; says each new name once."""
    found = [_word(word) for word in words]
    keys = dict.fromkeys(word.lstrip("+~").partition("=")[0] for word in words)
    for key in keys.keys() & TYPED.keys():
        print(f"{key} is called {TYPED[key]} now, and means the same", file=sys.stderr)
    return found


def _word(word: str) -> str:
    if word in SWEEP:
        return SWEEP[word]
    key, equals, value = word.partition("=")
    bare = key.lstrip("+~")
    return f"{key.removesuffix(bare)}{TYPED.get(bare, bare)}{equals}{value}"


TABLES = {"ltrun.augmentation.AutoAugment": "torchvision", "ltrun.augmentation.RandAugment": "timm"}  # before they were named


def with_tables(node: Any) -> Any:
    """Returns a recorded configuration whose augmentations name their tables, for a network that only predicts.

    Their pixels have changed since, so that the run cannot be trained again; its network is what it was.
    """
    if isinstance(node, Mapping):
        table = TABLES.get(str(node.get("_target_")))
        found = {key: with_tables(value) for key, value in node.items()}
        return {"table": table, **found} if table else found
    return [with_tables(value) for value in node] if isinstance(node, list) else node
