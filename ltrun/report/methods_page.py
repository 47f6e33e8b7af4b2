"""Markdown page of all methods, docs/methods.md: summary, citation, checks, published and own accuracy of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template

from ltrun.config import catalogue
from ltrun.config.catalogue import Option
from ltrun.config.option import root, setting
from ltrun.config.published import recipes
from ltrun.report.render.markdown import escaped
from ltrun.report.several_labels import published_table
from ltrun.report.table import DASH
from ltrun.taxonomy import SLOTS

WORDS = "methods_page.md"
COMPOSITIONS = "compositions.md"  # written by ltrun/contracts/compositions.py
BREAK = "<br>"
OURS = "[Ours](reproduction.md#published-recipes)"
ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
SECTIONS: Mapping[str, Sequence[str]] = {  # table of the template -> the families of its presets
    "plain": ("plain",),
    "resampling": ("resampling",),
    "reweighting": ("reweighting",),
    "margin": ("margin",),
    "logit_adjustment": ("logit_adjustment",),
    "posthoc": ("posthoc",),
    "decoupling": ("decoupling",),
    "non_transfer_augmentation": ("augmentation",),
    "head_to_tail_augmentation": ("head_to_tail_augmentation",),
    "pre_training": ("pre_training",),
    "distillation": ("distillation",),
    "model_transfer": ("model_transfer",),
    "self_training": ("self_training",),
    "metric_learning": ("metric_learning", "representation"),
    "prototype_learning": ("prototype_learning",),
    "sequential_training": ("sequential_training",),
    "regularization": ("regularization",),
    "classifier": ("classifier",),
    "ensemble": ("ensemble",),
}
IMAGES = "image_augmentation"  # a leaf of the taxonomy that has options alone
FAMILIES = tuple(family for families in SECTIONS.values() for family in families)
OTHER = "### Presets without a family"


def methods_page(more: Sequence[Path] = (), ours: Mapping[str, str] | None = None, *, large: str) -> str:
    """Returns methods_page.md with a table of presets for each family, tables of recipes, and a table of further options.

    more: folders of the user's options. ours: preset -> our accuracy; without it the tables have no such column. large: the
    tables of `recipe_tables`. Raises ConfigError.
    """
    presets = catalogue.options("method", more)
    tables = {
        name: _presets((preset for family in families for preset in presets if preset.family == family), ours)
        for name, families in SECTIONS.items()
    }
    others = [preset for preset in presets if preset.family not in FAMILIES]
    tables["other"] = "\n\n".join([OTHER, _presets(others, ours)]) if others else ""
    tables[IMAGES] = _options(
        (("augmentation", o) for o in catalogue.options("augmentation", more) if o.family == IMAGES), True
    )
    tables["recipes"] = large
    tables |= {f"published_{kind}": published_table(kind) for kind in ("images", "videos")}
    tables["compositions"] = resources.files("ltrun.report").joinpath(COMPOSITIONS).read_text(encoding="utf-8").strip()
    tables["options"] = _options(further_options(presets, more), group=True)
    text = resources.files("ltrun.report").joinpath(WORDS).read_text(encoding="utf-8")
    return re.sub(r"\n{3,}", "\n\n", Template(text).substitute(tables))


def tables_of(groups: Iterable[str], more: Sequence[Path] = (), ours: Mapping[str, str] | None = None) -> str:
    """Returns a table of all options for each group. Raises ConfigError."""
    parts = []
    for group in groups:
        listed = catalogue.options(group, more)
        parts += [f"## {escaped(group)}", _presets(listed, ours) if group == "method" else _options((group, o) for o in listed)]
    return "\n\n".join(parts) + "\n"


def _presets(presets: Iterable[Option], ours: Mapping[str, str] | None) -> str:
    heads = ["Preset", "What it does", "Checked", "Published", *([OURS] if ours is not None else [])]
    rows = (
        [
            _lines(escaped(preset.title), _code(preset.name)),
            _lines(escaped(preset.summary), _cited(preset.citation)),
            _checked(preset) or DASH,
            _published(preset) or DASH,
            *([ours.get(preset.name, DASH)] if ours is not None else []),
        ]
        for preset in presets
    )
    return _table(heads, rows)


def _options(options: Iterable[tuple[str, Option]], group: bool = False) -> str:
    """Returns a table of options. options: group and option; `group` puts the group before the name."""
    rows = (
        [
            _code(f"{name}={option.name}" if group else option.name),
            _lines(escaped(option.summary), _cited(option.citation), option.expected and f"published: {_published(option)}"),
            _checked(option) or DASH,
        ]
        for name, option in options
    )
    return _table(["Option", "What it does", "Checked"], rows)


def further_options(presets: Sequence[Option], more: Sequence[Path] = ()) -> Iterator[tuple[str, Option]]:
    """Yields group and option of each option with its own check, each that no preset chooses, and each of the user's."""
    shipped, (_, usual) = catalogue.folders()[0], root()
    chosen = {*usual.items()}
    for preset in presets:
        chosen |= {(group, name) for group, name, _ in setting("method", preset.name, more).choices}
    for recipe in recipes(more).values():
        chosen |= {(group, name) for group, name, _ in recipe.choices}
    for group in catalogue.groups(more):
        if group in ("method", "dataset"):
            continue
        for option in catalogue.options(group, more):
            alone = group in SLOTS or not (shipped / group / f"{option.name}{catalogue.SUFFIX}").is_file()
            if option.family == IMAGES:
                continue
            if option.checked or (alone and option.name != "none" and (group, option.name) not in chosen):
                yield group, option


def _published(option: Option) -> str:
    """Returns the published accuracy, with the band on a separate line."""
    found = catalogue.BAND.search(option.expected)
    number, band = (option.expected[: found.start()], option.expected[found.start() + 2 :]) if found else (option.expected, "")
    return _lines(escaped(number), f"band: {escaped(band)}" if band else "")


def _checked(option: Option) -> str:
    """Returns `checked` with the names of files as code."""
    text = escaped(option.checked)
    if not option.golden:
        return text
    return re.sub(rf"\b({'|'.join(map(re.escape, option.golden))})\b(?![^(]*\))", r"`\1`", text)


def _cited(citation: str) -> str:
    return ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", escaped(citation))


def _code(name: str) -> str:
    return f"`{name.replace('`', '').replace('|', '')}`"


def _lines(*lines: str) -> str:
    return BREAK.join(filter(None, lines))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, [":--"] * len(heads), *rows))
