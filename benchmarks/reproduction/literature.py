"""The published numbers: methods in the order of their worth, bands, and orders that hold between methods."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ltrun.config import catalogue

FILE = Path(__file__).resolve().parents[1] / "published.json"


@dataclass(frozen=True)
class Published:
    """One method. title: its name in papers. said: the published number with source and recipe, from the header of the preset.
    band: lowest and highest accuracy in percent that count as published. sources: where the band comes from."""

    method: str
    title: str
    said: str
    band: tuple[float, float] | None
    sources: str


@dataclass(frozen=True)
class Literature:
    """dataset: the data set of all numbers. what: the measure that is compared. best_known: the methods of a short form.
    checks: (method, relation, method), where ~ means within `about` points."""

    dataset: str
    what: str
    source: str
    methods: dict[str, Published]
    best_known: tuple[str, ...]
    checks: tuple[tuple[str, str, str], ...]
    about: float


def literature(file: Path = FILE) -> Literature:
    """Reads published.json, and the published numbers and bands from the headers of the presets."""
    said = json.loads(file.read_text())
    presets = {option.name: option for option in catalogue.options("method")}
    methods = {}
    for name, sources in said["methods"].items():
        preset = presets[name]
        number = catalogue.BAND.split(preset.expected)[0] if preset.band else preset.expected
        methods[name] = Published(name, preset.title, number, preset.band, sources)
    checks = tuple((one, relation, other) for one, relation, other in said["checks"])
    return Literature(said["dataset"], said["what"], said["source"], methods, tuple(said["best_known"]), checks, said["about"])
