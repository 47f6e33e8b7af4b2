"""The page of one run, finished or not: command, address, metrics, stages, files. Only reads; needs no torch."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ltrun.metrics import TASKS, Metric
from ltrun.report.caption import models
from ltrun.results.address import EPOCHS, LOCK, RESULT, as_typed
from ltrun.results.folder import failure
from ltrun.results.record import RunRecord


def run_page(folder: Path) -> Iterator[str]:
    """Yields the lines of the page. Raises DataError for a damaged record."""
    reason = failure(folder)
    if (folder / RESULT).exists():
        record = RunRecord.load(folder / RESULT)
        yield f"{record.label} on {record.dataset}, seed {record.seed}: done"
        yield from (f"  force=true was refused since: {reason}" for _ in [reason] if reason)
        yield from _done(record)
    else:
        yield f"{folder}: {'failed' if reason else 'unfinished, or still running'}"
        yield from (f"  {reason}" for _ in [reason] if reason)
        yield from _unfinished(folder)
    yield "files"
    yield from _files(folder)


def _done(record: RunRecord) -> Iterator[str]:
    yield f"  command  {command_of(record)}"
    yield f"  address  {record.dataset}/{record.method}/{record.fingerprint}/seed{record.seed}"
    yield f"  model    {models([record])}"
    slots = {slot: option for slot, option in record.choices.items() if option != "none"}
    yield f"  choices  {' '.join(f'{slot}={option}' for slot, option in slots.items())}"
    yield "metrics, in percent"
    for heads in _parted(TASKS[record.task]):
        yield from _metrics(record, heads)
    if any("test" in predictor["sees"] for predictor in record.predictors.values()):
        yield "  † saw test inputs"
    counts = record.classes["counts"]
    images = "" if record.training_images is None else f"{record.training_images:,} training images, "
    yield f"data: {len(counts)} classes, {images}{max(counts):,} to {min(counts):,} a class"
    yield "stages"
    for stage in record.stages:
        yield f"  {stage['name']}: {stage['epochs']} epochs, {stage['seconds']:,.1f} s"
    yield from _origin(record.provenance)


def _parted(metrics: Sequence[Metric]) -> list[dict[str, str]]:
    """Returns key -> heading of the columns of each table: a metric whose shot groups are its own begins another table."""
    found: list[dict[str, str]] = [{}]
    for metric in metrics:
        if metric.complements is None:
            if set(metric.columns.values()) & {head for key, head in found[-1].items() if key not in metric.columns}:
                found.append({})
            found[-1] |= metric.columns
    return found


def _metrics(record: RunRecord, heads: Mapping[str, str]) -> Iterator[str]:
    """Yields a table with a line for each predictor and split. heads: key of a column -> heading."""
    of_key = {key: metric for metric in reversed(TASKS[record.task]) for key in metric.columns}
    rows = [["", "", *heads.values()]]
    for name, predictor in record.predictors.items():
        for split, found in predictor["splits"].items():
            cells = [_cell(None if found.get(key) is None else of_key[key].shown(found[key], key)) for key in heads]
            rows.append([f"{name}{' †' if 'test' in predictor['sees'] else ''}", split, *cells])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first = [f"{cell:<{width}}" for cell, width in zip(row[:2], widths, strict=False)]
        rest = [f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:], strict=True)]
        yield f"  {'  '.join([*first, *rest])}".rstrip()


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _origin(origin: Mapping[str, Any]) -> Iterator[str]:
    said = [str(origin[key]) for key in ("date", "device", "precision", "platform") if key in origin]
    devices, images = origin.get("devices", 1), origin.get("images_per_device", "?")
    said += [f"{devices} devices with {images} images of a batch each"] if devices != 1 else []
    on = origin.get("levers")
    said += [f"levers {', '.join(map(str, on))}"] if isinstance(on, list) else []
    versions = origin.get("versions")
    said += [f"{name} {version}" for name, version in versions.items()] if isinstance(versions, Mapping) else []
    said += [f"commit {origin['commit']}{' and changes' if origin.get('dirty') else ''}"] if "commit" in origin else []
    if said:
        yield f"from: {', '.join(said)}"


def command_of(record: RunRecord) -> str:
    """Returns the recorded command of a run; for an older record, a command made from its method and changes."""
    if record.command:
        return shlex.join(["ltrun", *record.command])
    changed = [f"{key}={'null' if value is None else as_typed(value)}" for key, value in record.changes.items()]
    root = record.config.get("dataset", {}).get("root")
    place = [f"dataset.root={root}"] if root is not None and "dataset" in record.choices else []
    choices = [f"method={record.method}", f"dataset={record.choices.get('dataset', record.dataset)}"]
    return f"{shlex.join(['ltrun', *choices, *place, *changed, f'seed={record.seed}'])}  (from its choices, not recorded)"


def _unfinished(folder: Path) -> Iterator[str]:
    """Yields the address and the last epoch of a run without a result."""
    parts = folder.absolute().parts[-4:]
    yield f"  address  {'/'.join(parts)}"
    try:
        *_, last = (folder / EPOCHS).read_text(encoding="utf-8").split("\n")[:-1]
        row = json.loads(last)
        yield "  last epoch " + ", ".join(f"{key} {value}" for key, value in row.items() if isinstance(value, (int, str)))
    except (OSError, ValueError):
        yield "  no epoch is complete"


def _files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        if path.name != LOCK:
            size = f"  {path.stat().st_size:,} bytes" if path.is_file() else ""
            yield f"  {path}{size}"
