"""What a result.json must hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

FORMAT = 1
FIELDS = (
    "format", "dataset", "method", "changes", "choices", "config", "seed", "fingerprint", "headline", "selection", "predictors",
    "classes", "stages", "provenance",
)  # fmt: skip
LARGEST = 64 * 2**20  # bytes; 8,142 classes with ten predictors are a tenth of it
Check = Callable[[Any], bool]
OPEN = ("accuracy", "error", "macro", "many", "medium", "few", "ece")  # metrics that may be None


def read(data: bytes) -> dict[str, Any]:
    """The fields of a record. Raises ValueError saying what is wrong, in words that fit in a bracket."""
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
    if content["format"] != FORMAT or isinstance(content["format"], bool):
        raise ValueError(f"its format is {str(content['format'])[:20]!r}, this ltrun reads {FORMAT}")
    if wrong := sorted(set(FIELDS) ^ set(content)):
        raise ValueError(f"'{wrong[0][:80]}' is {'missing' if wrong[0] in FIELDS else 'unknown'}")
    for key, wanted, good in _checks(content):
        if not good:
            raise ValueError(f"{key} is not {wanted}")
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"it contains {constant}")


def _checks(content: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """(key, what it must be, whether it is), each only evaluated after the ones before it held."""
    for key in ("dataset", "method", "headline"):
        yield key, "a name", isinstance(content[key], str) and content[key] != ""
    for key in ("changes", "choices", "config", "predictors", "classes", "provenance"):
        yield key, "a mapping", isinstance(content[key], dict)
    yield "choices", "a mapping to names", all(isinstance(option, str) for option in content["choices"].values())
    yield "seed", "a whole number from 0", _whole(content["seed"])
    mark = content["fingerprint"]
    yield "fingerprint", "8 hex digits", isinstance(mark, str) and re.fullmatch("[0-9a-f]{8}", mark) is not None
    yield "selection", "'last' or 'best_val'", content["selection"] in ("last", "best_val")
    yield "stages", "a list", isinstance(content["stages"], list)
    for stage in content["stages"]:
        yield "stages", "a list of name, epochs and seconds", _stage(stage)
    counts, names = content["classes"].get("counts"), content["classes"].get("names")
    yield "classes.counts", "a list of whole numbers", isinstance(counts, list) and _wholes(counts)
    yield "classes.names", "a list of names", isinstance(names, list) and set(map(type, names)) <= {str}
    yield "classes", "one name for each count", bool(counts) and len(counts) == len(names)
    yield "headline", "one of the predictors", content["headline"] in content["predictors"]
    for name, predictor in content["predictors"].items():
        yield from _check_predictor(f"predictors.{name[:80]}", predictor, len(counts))


def _check_predictor(key: str, predictor: Any, classes: int) -> Iterator[tuple[str, str, bool]]:
    yield key, "sees and splits", isinstance(predictor, dict) and predictor.keys() == {"sees", "splits"}
    sees, splits = predictor["sees"], predictor["splits"]
    yield f"{key}.sees", "a list of splits", isinstance(sees, list) and all(isinstance(split, str) for split in sees)
    yield f"{key}.splits", "a mapping", isinstance(splits, dict) and bool(splits)
    for split, metrics in splits.items():
        where = f"{key}.{split[:80]}"
        yield where, "a mapping of metrics", isinstance(metrics, dict) and metrics.keys() == {*OPEN, "per_class", "images"}
        for name in OPEN:
            yield f"{where}.{name}", "a fraction of 1", _fraction(metrics[name])
        each = metrics["per_class"]
        listed = isinstance(each, list) and len(each) == classes
        yield f"{where}.per_class", "a fraction a class", listed and _fractions(each)
        yield f"{where}.images", "a whole number", _whole(metrics["images"])
        right, wrong = metrics["accuracy"], metrics["error"]
        agree = right == wrong if None in (right, wrong) else abs(right + wrong - 1) < 1e-4
        yield f"{where}.error", "1 - accuracy", agree


def _whole(value: Any) -> bool:
    return _wholes([value])


def _wholes(values: list[Any]) -> bool:
    """True and false are no numbers. Like `_fractions` without Python per value, as reports read thousands of long lists."""
    return set(map(type, values)) <= {int} and min(values, default=0) >= 0


def _fraction(value: Any) -> bool:
    return _fractions([value])


def _fractions(values: list[Any]) -> bool:
    """Of 1, or None. JSON as it is read here has no nan."""
    numbers = [value for value in values if value is not None]
    return set(map(type, numbers)) <= {float, int} and min(numbers, default=0) >= 0 and max(numbers, default=0) <= 1


def _stage(stage: Any) -> bool:
    if not isinstance(stage, dict) or not isinstance(stage.get("name"), str) or not _whole(stage.get("epochs")):
        return False
    seconds = stage.get("seconds")
    return isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds < math.inf
