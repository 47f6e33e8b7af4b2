"""Facts above a table of the page: model, recipe, data and commit of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ltrun.report.caption import models
from ltrun.report.data import SHOWN, UNKNOWN
from ltrun.results.address import as_typed
from ltrun.results.record import RunRecord

MOST = 3  # values that a fact lists; of more, it says how many


def facts(records: Sequence[RunRecord]) -> Iterator[tuple[str, str]]:
    """Yields name and text of each fact."""
    yield "Model", models(records)
    yield "Recipe", " · ".join(filter(None, _recipe(records)))
    yield "Data", " · ".join(_data(records))
    yield "Commit", _several("commits", [_commit(record.provenance) for record in records])
    yield "Machine", _several("machines", [_machine(record.provenance) for record in records])


def _recipe(records: Sequence[RunRecord]) -> Iterator[str]:
    for group in ("network", "optimizer", "schedule"):
        yield _several(f"{group}s", [record.choices.get(group, "") for record in records])
    yield _several("rates", [_rate(record.config) for record in records])
    yield _several("numbers of epochs", [_said(record.config, "epochs", "{} epochs") for record in records])
    yield _several("batch sizes", [_said(record.config, "batch_size", "batches of {}") for record in records])
    yield _several("precisions", [_said(record.config.get("runtime"), "precision", "{}") for record in records])


def _said(node: Any, key: str, text: str) -> str:
    value = node.get(key) if isinstance(node, Mapping) else None
    return "" if value is None else text.format(as_typed(value))


def _rate(config: Mapping[str, Any]) -> str:
    return _said(config.get("optimizer"), "lr", "rate {}")


def _data(records: Sequence[RunRecord]) -> Iterator[str]:
    """Yields the digest of the data, as far as records identify them, and their sizes."""
    digests = {str(record.data["digest"])[:SHOWN] for record in records if record.data}
    yield f"digest {', '.join(sorted(digests))}" if digests else f"digest {UNKNOWN}"
    sizes = {tuple(record.classes["counts"]) for record in records}
    if len(sizes) == 1:
        counts, images = sizes.pop(), records[0].training_images
        yield f"{len(counts):,} classes"
        if images is not None:
            yield f"{images:,} training images, {max(counts):,} to {min(counts):,} a class"


def _commit(origin: Mapping[str, Any]) -> str:
    commit = origin.get("commit")
    if not isinstance(commit, str):
        versions = origin.get("versions")
        return f"ltrun {versions['ltrun']}" if isinstance(versions, Mapping) and "ltrun" in versions else "not recorded"
    return commit[:10] + (" and changes" if origin.get("dirty") else "")


def _machine(origin: Mapping[str, Any]) -> str:
    devices = origin.get("devices", 1)
    return (f"{devices} × " if devices != 1 else "") + str(origin.get("device", "not recorded"))


def _several(name: str, values: Sequence[str]) -> str:
    """Returns the values, or how many they are: `8 optimizers`."""
    found = list(dict.fromkeys(value for value in values if value))
    return " or ".join(found) if len(found) <= MOST else f"{len(found)} {name}"
