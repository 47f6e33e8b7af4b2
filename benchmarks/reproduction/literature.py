"""What is published: methods in the order in which they are worth a run, bands, and the order of the methods."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ltrun.config import catalogue

FILE = Path(__file__).resolve().parents[1] / "published.json"


@dataclass(frozen=True)
class Published:
    """One method. title: in papers. said: the number, with its source and recipe, as the header of its preset has it. band: the
    range, in percent, that holds the published numbers. sources: of the band."""

    method: str
    title: str
    said: str
    band: tuple[float, float] | None
    sources: str


@dataclass(frozen=True)
class Literature:
    """dataset: the one that all of it is about. what: the number that is compared. best_known: the methods of a short form.
    checks: (method, relation, method), with ~ for within `about` points."""

    dataset: str
    what: str
    source: str
    methods: dict[str, Published]
    best_known: tuple[str, ...]
    checks: tuple[tuple[str, str, str], ...]
    about: float


def literature(file: Path = FILE) -> Literature:
    """published.json, beside what the headers of the presets say."""
    said = json.loads(file.read_text())
    presets = {option.name: option for option in catalogue.options("method")}
    methods = {}
    for name, sources in said["methods"].items():
        preset = presets[name]
        number = catalogue.BAND.split(preset.expected)[0] if preset.band else preset.expected
        methods[name] = Published(name, preset.title, number, preset.band, sources)
    checks = tuple((one, relation, other) for one, relation, other in said["checks"])
    return Literature(said["dataset"], said["what"], said["source"], methods, tuple(said["best_known"]), checks, said["about"])
