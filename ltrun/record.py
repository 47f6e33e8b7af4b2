"""What a run leaves behind: its record, its address, and where its numbers came from. Nothing here needs torch."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ltrun import __version__
from ltrun.errors import ConfigError, DataError
from ltrun.files import write_atomically
from ltrun.slots import SLOTS

FORMAT = 1
RESULT = "result.json"
MANIFEST = "checkpoints.json"  # names the checkpoints of a run that may be gone on from
LARGEST = 64 * 2**20  # bytes; 8,142 classes with ten predictors are a tenth of it
MANY, FEW = 100, 20  # more training images than MANY, fewer than FEW; evaluation.many and evaluation.few override
INERT = (
    "seed", "outputs", "force", "plugins", "evaluation.batch_size",
    "dataset.name", "dataset.root", "dataset.download", "dataset.source.root", "dataset.source.download",
    "dataset.streamed", "dataset.source.streamed", "dataset.workers", "dataset.source.workers",
    "runtime.device", "runtime.threads", "runtime.channels_last", "runtime.compile", "runtime.pack", "runtime.tensorboard",
    "runtime.checkpoint_seconds",
)  # fmt: skip
"""Keys that name a run, or change where, how fast or how visibly it runs. Any other key of `runtime` changes results."""
ORDERED = ("augments", "mixers")  # mappings whose parts follow each other, wherever they stand: their order changes results


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of result.json, which is written last: where it lies, the run is done.

    dataset, method: names. changes: what was overridden relative to the method's preset, {"reweighting": "none",
    "dataset.imbalance": 50}. choices: slot -> option. config: resolved. fingerprint: see `fingerprint`. headline: the
    predictor that stands for the method. selection: the model that was evaluated, "last" or "best_val".
    predictors: {name: {"sees": ["val", ...], "splits": {"test": metrics, ...}}}; metrics are accuracy, error, macro, many,
    medium, few and ece as fractions of 1 (None for a group without classes), per_class (C fractions or None) and images.
    classes: {"names": [...], "counts": training images}. stages: [{"name", "epochs", "seconds"}].
    """

    dataset: str
    method: str
    changes: Mapping[str, Any]
    choices: Mapping[str, str]
    config: Mapping[str, Any]
    seed: int
    fingerprint: str
    headline: str
    selection: str
    predictors: Mapping[str, Any]
    classes: Mapping[str, Any]
    stages: list[dict[str, Any]]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def label(self) -> str:
        """The method and what was changed of it, slots first: `ldam_drw [reweighting=none, epochs=3]`."""
        return labelled(self.method, self.changes)

    def save(self, folder: Path) -> Path:
        """Writes folder/result.json whole or not at all. Raises TrainingError."""
        data = json.dumps(asdict(self), indent=1, allow_nan=False).encode()
        _read(data)  # a record that `load` would refuse must not count as a finished run
        write_atomically(folder / RESULT, data + b"\n")
        return folder / RESULT

    @classmethod
    def load(cls, path: Path) -> RunRecord:
        """Raises DataError, naming the file, for whatever `save` did not write."""
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST + 1)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        try:
            return _read(data)
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, ValueError) else "nested too deeply"
            raise DataError(
                f"{path} is damaged or not a result of ltrun ({reason}): move it away and train that run again"
            ) from error


def labelled(name: str, changes: Mapping[str, Any]) -> str:
    """`name [key=value, ...]`, in an order that does not depend on how the changes were typed; inert keys are left out."""

    def order(key: str) -> tuple[int, str]:
        return (SLOTS.index(key) if key in SLOTS else len(SLOTS), key)

    shown = [f"{key}={spelled(changes[key])}" for key in sorted(changes, key=order) if key not in INERT]
    return f"{name} [{', '.join(shown)}]" if shown else name


def spelled(value: object) -> str:
    """A value as it is typed on the command line."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# ------------------------------------------------------------------------------------------------------------- address


def fingerprint(config: Mapping[str, Any]) -> str:
    """8 hex digits of the SHA-256 of whatever in a resolved configuration changes results; 50 and 50.0 are the same."""
    text = json.dumps(_canonical(config, ""), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _canonical(node: Any, path: str) -> Any:
    if isinstance(node, Mapping):
        paths = {str(key): f"{path}.{key}" if path else str(key) for key in node}
        kept = {str(k): _canonical(v, paths[str(k)]) for k, v in node.items() if paths[str(k)] not in INERT}
        return list(kept.items()) if path.rpartition(".")[2] in ORDERED else kept
    if isinstance(node, (list, tuple)):
        return [_canonical(item, f"{path}.{i}") for i, item in enumerate(node)]
    if isinstance(node, float) and math.isfinite(node):
        return int(node) if node.is_integer() else node
    if node is None or isinstance(node, (str, bool, int)):
        return node
    raise ConfigError(f"{path} must be a finite number, text, list or mapping, got {node!r}")


def address(outputs: Path, dataset: str, method: str, fingerprint: str, seed: int) -> Path:
    """outputs/<dataset>/<method>/<fingerprint>/seed<k>. Raises ConfigError for names that would lie elsewhere."""
    for key, name in {"dataset": dataset, "method": method, "fingerprint": fingerprint}.items():
        if not name or name.startswith(".") or not name.isprintable() or set(name) & set("/\\:") or len(name.encode()) > 200:
            raise ConfigError(
                f"{key} {name!r} cannot name a folder of {outputs}: it must not be empty, start with a dot, "
                "contain / \\ : or control characters, or be longer than 200 bytes"
            )
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, got {seed}")
    return outputs / dataset / method / fingerprint / f"seed{seed}"


def forget(folder: Path) -> None:
    """Has a run begin anew: if it is cut short, nothing of before passes for its result, and it goes on from its own."""
    for name in (MANIFEST, RESULT):
        (folder / name).unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------------- provenance


def provenance() -> dict[str, Any]:
    """Time (UTC), versions, platform and, where ltrun is a checkout, its commit; not the name of the machine or its user."""
    versions = {"ltrun": __version__, "python": platform.python_version()}
    for package in ("torch", "torchvision", "hydra-core", "numpy"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions,
        "platform": platform.platform(),
        **_commit(Path(__file__).resolve().parents[1]),
    }


def _commit(root: Path) -> dict[str, Any]:
    """{"commit": ..., "dirty": ...} if `root` is a git checkout itself, not merely inside one as a virtual environment is."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return {}
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return {}


# ------------------------------------------------------------------------------------------------------------- reading

Check = Callable[[Any], bool]
OPEN = ("accuracy", "error", "macro", "many", "medium", "few", "ece")  # metrics that may be None


def _read(data: bytes) -> RunRecord:
    """Raises ValueError saying what is wrong, in words that fit in a bracket."""
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
    known = {entry.name for entry in fields(RunRecord)}
    if wrong := sorted(known ^ set(content)):
        raise ValueError(f"'{wrong[0][:80]}' is {'missing' if wrong[0] in known else 'unknown'}")
    for key, wanted, good in _checks(content):
        if not good:
            raise ValueError(f"{key} is not {wanted}")
    return RunRecord(**content)


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
