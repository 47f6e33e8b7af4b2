"""Schema of result.json: validation of the fields of a record."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from ltrun.errors import MOST_NAMES
from ltrun.metrics import MULTI_LABEL, SINGLE_LABEL, TASKS, is_number

FORMAT = 3
FIELDS = (
    "format", "dataset", "method", "task", "changes", "choices", "config", "seed", "fingerprint", "headline", "selection",
    "predictors", "classes", "stages", "provenance", "command", "data",
)  # fmt: skip
ADDED = {"task": 2, "command": 3, "data": 3}  # field -> the first format that has it
LARGEST = 64 * 2**20  # bytes; a record of 8,142 classes and ten predictors takes a tenth of it
EACH = {
    SINGLE_LABEL: ("per_class",),
    MULTI_LABEL: ("per_class", "per_class_precision", "per_class_recall", "per_class_f1"),
}  # task -> lists with a fraction of 1 for each class, or None
POSITIVES = "positives"  # images with each class, of several labels
LISTS = {POSITIVES}.union(*EACH.values())
Check = tuple[str, str, bool]  # a key, what its value must be, whether it is


class Unknown(ValueError):
    """A record of a task or a format that this version does not know."""


def read(data: bytes) -> dict[str, Any]:
    """Returns the fields of a record in its own format.

    Raises Unknown for a later format or task, and ValueError with the defect, in words that fit in a bracket.
    """
    if len(data) > LARGEST:
        raise ValueError(f"larger than {LARGEST >> 20} MiB")
    try:
        content = json.loads(data.decode(), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not whole JSON: {error.msg} at character {error.pos}") from error
    if not isinstance(content, dict) or "format" not in content:
        raise ValueError("no 'format' in it")
    known = _format(content["format"])
    fields = {name for name in FIELDS if ADDED.get(name, 1) <= known}
    if wrong := sorted(fields ^ set(content)):
        raise ValueError(f"'{wrong[0][:80]}' is {'missing' if wrong[0] in fields else 'unknown'}")
    for key, wanted, good in _checks(content):
        if not good:
            raise ValueError(f"{key} is not {wanted}")
    return content


def _format(found: Any) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ValueError(f"its format is {str(found)[:20]!r}, which does not exist")
    if found > FORMAT:
        raise Unknown(f"its format is {str(found)[:20]}, the latest known is {FORMAT}")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"it contains {constant}")


def _checks(content: dict[str, Any]) -> Iterator[Check]:
    """Yields the checks of a record. The caller must stop at the first that fails, because later ones rely on it."""
    task = content.get("task", SINGLE_LABEL)
    for key, name in {"task": task, **{key: content[key] for key in ("dataset", "method", "headline")}}.items():
        yield key, "a name", isinstance(name, str) and name != ""
    if task not in TASKS:
        raise Unknown(f"its task is {task[:80]!r}, known: {', '.join(sorted(TASKS)[:MOST_NAMES])}")
    for key in ("changes", "choices", "config", "predictors", "classes", "provenance"):
        yield key, "a mapping", isinstance(content[key], dict)
    yield "choices", "a mapping to names", all(isinstance(option, str) for option in content["choices"].values())
    yield "seed", "a whole number from 0", _whole(content["seed"])
    mark = content["fingerprint"]
    yield "fingerprint", "8 hex digits", isinstance(mark, str) and re.fullmatch("[0-9a-f]{8}", mark) is not None
    yield "selection", "'last' or 'best_val'", content["selection"] in ("last", "best_val")
    yield "stages", "a list", isinstance(content["stages"], list)
    for stage in content["stages"]:
        yield "stages", "a list of mappings with name, epochs and seconds", _stage(stage)
    yield from _check_data(content.get("command", []), content.get("data", {}))
    counts, names = content["classes"].get("counts"), content["classes"].get("names")
    yield "classes.counts", "a list of whole numbers", isinstance(counts, list) and _wholes(counts)
    yield "classes.names", "a list of names", isinstance(names, list) and set(map(type, names)) <= {str}
    yield "classes", "one name for each count", bool(counts) and len(counts) == len(names)
    yield "headline", "one of the predictors", content["headline"] in content["predictors"]
    for name, predictor in content["predictors"].items():
        yield from _check_predictor(f"predictors.{name[:80]}", predictor, len(counts), task)


def _check_data(command: Any, data: Any) -> Iterator[Check]:
    yield "command", "a list of words", isinstance(command, list) and all(isinstance(word, str) for word in command)
    yield "data", "a mapping", isinstance(data, dict)
    if data:
        good = isinstance(data.get("splits"), dict) and all(map(_hex, (data.get("digest"), data.get("classes"))))
        yield "data", "a mapping with digest, classes and splits", good
    for split, found in data.get("splits", {}).items():
        key = f"data.{split[:80]}"
        yield key, "a mapping", isinstance(found, dict)
        yield f"{key}.images", "a whole number", _whole(found.get("images"))
        for name in ("labels", "files", "sizes", "pixels"):
            good = _hex(found.get(name)) or (name in ("sizes", "pixels") and name in found and found[name] is None)
            yield f"{key}.{name}", "16 hex digits", good


def _hex(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{16}", value) is not None


def _check_predictor(key: str, predictor: Any, classes: int, task: str) -> Iterator[Check]:
    yield key, "a mapping with sees and splits", isinstance(predictor, dict) and predictor.keys() == {"sees", "splits"}
    sees, splits = predictor["sees"], predictor["splits"]
    yield f"{key}.sees", "a list of splits", isinstance(sees, list) and all(isinstance(split, str) for split in sees)
    yield f"{key}.splits", "a mapping", isinstance(splits, dict) and bool(splits)
    for split, found in splits.items():
        yield from _check_metrics(f"{key}.{split[:80]}", found, classes, task)


def _check_metrics(where: str, found: Any, classes: int, task: str) -> Iterator[Check]:
    """Yields the checks of the metrics of a split: declared metrics, if present, and metrics of another version of ltrun."""
    counted = (POSITIVES,) if task == MULTI_LABEL else ()
    needed = (TASKS[task][0].name, *EACH[task], *counted, "images")
    yield where, f"a mapping with {', '.join(needed)}", isinstance(found, dict) and found.keys() >= set(needed)
    percent = {key: metric.percent for metric in TASKS[task] for key in metric.columns}
    for key in filter(found.__contains__, percent):
        good = _fraction(found[key]) if percent[key] else found[key] is None or is_number(found[key])
        yield f"{where}.{key}", "a fraction of 1" if percent[key] else "a number", good
    for key in EACH[task]:
        each = found[key]
        listed = isinstance(each, list) and len(each) == classes
        yield f"{where}.{key}", "a list with a fraction for each class", listed and _fractions(each)
    for key in counted:
        there = found[key]
        listed = isinstance(there, list) and len(there) == classes
        yield f"{where}.{key}", "a list with a whole number for each class", listed and _wholes(there)
        absent = [value is None for value in found["per_class"]]
        yield f"{where}.{key}", "0 where per_class is null, and only there", absent == [number == 0 for number in there]
    yield f"{where}.images", "a whole number", _whole(found["images"])
    for metric in TASKS[task]:
        if metric.complements in found and metric.name in found:
            one, other = found[metric.name], found[metric.complements]
            agree = one == other if None in (one, other) else abs(one + other - 1) < 1e-4
            yield f"{where}.{metric.name}", f"1 - {metric.complements}", agree
    for key in found.keys() - percent.keys():
        yield f"{where}.{key[:80]}", "finite", key in needed or _finite(found[key])


def _finite(value: Any) -> bool:
    """Returns whether a value can be written as JSON again: 1e999 is read as infinity."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _whole(value: Any) -> bool:
    return _wholes([value])


def _wholes(values: list[Any]) -> bool:
    """Returns whether all values are whole numbers from 0; true and false are not numbers.

    Like `_fractions`, does not loop in Python, because reports read thousands of long lists.
    """
    return set(map(type, values)) <= {int} and min(values, default=0) >= 0


def _fraction(value: Any) -> bool:
    return _fractions([value])


def _fractions(values: list[Any]) -> bool:
    """Returns whether all values are fractions of 1 or None. `read` admits no nan."""
    numbers = [value for value in values if value is not None]
    return set(map(type, numbers)) <= {float, int} and min(numbers, default=0) >= 0 and max(numbers, default=0) <= 1


def _stage(stage: Any) -> bool:
    if not isinstance(stage, dict) or not isinstance(stage.get("name"), str) or not _whole(stage.get("epochs")):
        return False
    seconds = stage.get("seconds")
    return isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds < math.inf
