"""`ltrun show`: description, keys and files of a method, an option or a run. Needs no torch."""

from __future__ import annotations

import argparse
import itertools
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from ltrun.config import catalogue
from ltrun.config.option import Key, Setting, setting
from ltrun.config.published import PUBLISHED_ON, has_defaults, numbers, recipes
from ltrun.errors import ConfigError, did_you_mean
from ltrun.metrics import MULTI_LABEL
from ltrun.results.address import EPOCHS, ERROR, JOB, LOCK, MANIFEST, RESULT
from ltrun.taxonomy import GROUPS

TRACES = (RESULT, ERROR, MANIFEST, EPOCHS, JOB, LOCK)  # files that mark the folder of a run


def main(argv: Sequence[str]) -> int:
    """`ltrun show NAME`, `GROUP=NAME` or `RUN`. Raises LtrunError."""
    parser = argparse.ArgumentParser(
        "ltrun show", description="Show a method or an option with its citation and its keys, or a run with its metrics."
    )
    parser.add_argument("what", nargs="+", metavar="NAME|GROUP=NAME|RUN", help="ldam, margin=ldam, or the folder of a run")
    parser.add_argument("--config-dir", type=Path, action="append", default=[], metavar="DIR", help="options of your own")
    asked = parser.parse_args(argv)
    pages = [page for what in asked.what for page in _pages(what, asked.config_dir)]
    pages += _of_pairs(asked.what, asked.config_dir)
    print("\n\n".join("\n".join(page) for page in pages))
    return 0


def about(argv: Sequence[str]) -> list[str]:
    """Returns the arguments of `ltrun show` for the options that a command line names; empty if it names none."""
    places = list(_config_dirs(argv))
    names = catalogue.names(list(map(Path, places)))
    found = []
    for word in argv:
        group, _, given = word.lstrip("+").partition("=")
        if group in names:
            found += [f"{group}={name.strip()}" for name in given.strip("[]").split(",") if name.strip() in names[group]]
    return [*found, *(f"--config-dir={place}" for place in places)] if found else []


def _config_dirs(argv: Sequence[str]) -> Iterator[str]:
    for word, after in itertools.zip_longest(argv, argv[1:], fillvalue=""):
        flag, equals, value = word.partition("=")
        if flag in ("--config-dir", "-cd") and (place := value if equals else after):
            yield place


def _pages(what: str, more: Sequence[Path]) -> Iterator[list[str]]:
    """Yields a page for each meaning of a name: for `ldam`, the method and the margin. Raises ConfigError if there is none."""
    names = catalogue.names(more)
    group, equals, name = what.partition("=")
    if equals and group in names:
        yield list(_option(setting(group, name, more), more))
        return
    of_groups = [group for group in sorted(names, key=_order) if what in names[group]]
    if of_groups:
        for group in of_groups:
            yield list(_option(setting(group, what, more), more))
        return
    if what in names:
        yield [
            f"{what}, one of",
            *(f"  {option.name:<24}{option.summary}".rstrip() for option in catalogue.options(what, more)),
        ]
        return
    path = Path(what)
    if not path.exists():
        known = [*names, *set().union(*names.values())]
        near = did_you_mean(what, known) or "; ltrun methods lists them"
        raise ConfigError(f"there is no method, option or run '{what}'{near}")
    from ltrun.report.run_page import run_page

    yield list(run_page(_folder(path)))


def _of_pairs(asked: Sequence[str], more: Sequence[Path]) -> Iterator[list[str]]:
    """Yields a page for each method and each data set of the same command, named as method=NAME, dataset=NAME or NAME alone."""
    names = catalogue.names(more)
    named = {
        group: [word.removeprefix(f"{group}=") for word in asked if word.startswith(f"{group}=") or word in names[group]]
        for group in ("method", "dataset")
    }
    for method, dataset in itertools.product(named["method"], named["dataset"]):
        if dataset != PUBLISHED_ON:
            yield list(_recipe(method, dataset, more))


def _recipe(method: str, dataset: str, more: Sequence[Path]) -> Iterator[str]:
    yield f"method={method} dataset={dataset}"
    found = recipes(more).get((method, dataset))
    if found is None:
        whose = "the data set's own optimizer and schedule" if has_defaults(dataset, more) else "its numbers for CIFAR100-LT"
        yield f"  no published recipe: trains the preset's slots with {whose}"
    else:
        yield f"  the published recipe. {found.option.summary}"
        yield f"  {found.option.citation}"
        measured = (
            "mAP in percent (head, medium, tail)" if _several(dataset, more) else "accuracy in percent (many, medium, few)"
        )
        yield f"  published on {dataset}, {measured}: {found.option.expected}"
    settings = [*([found] if found else []), *numbers(method, dataset, more)]
    if chosen := [f"{group}={name}" for group, name, _ in (found.choices if found else ())]:
        yield f"slots: {' '.join(chosen)}"
    if keys := [key for each in settings for key in each.keys]:
        yield "keys, with their values here"
        yield from _keys(keys)
    if settings:
        yield f"files: {', '.join(str(each.file) for each in settings)}"
    yield f"train it: ltrun {shlex.quote(f'method={method}')} {shlex.quote(f'dataset={dataset}')}"


def _order(group: str) -> tuple[int, str]:
    return (GROUPS.index(group) if group in GROUPS else len(GROUPS), group)


def _option(found: Setting, more: Sequence[Path]) -> Iterator[str]:
    option = found.option
    yield found.word
    yield from (f"  {line}" for line in (option.summary, option.citation) if line)
    if option.expected:
        several = found.group == "method" and _several(option.trained_on, more)
        where = f"{option.trained_on}, mAP" if several else "CIFAR100-LT, accuracy"
        yield f"  published on {where} in percent: {option.expected}"
    if option.checked:
        yield f"  arithmetic checked: {option.checked}"
    slots = list(_slots(found, more))
    if slots:
        yield "slots"
        width = max(len(_where(each)) for each in slots)
        yield from (f"  {_where(each):<{width}}  {each.option.summary}".rstrip() for each in slots)
    if keys := [key for each in (found, *slots) for key in each.keys if key.default != "{}"]:
        yield "keys, with their defaults"
        yield from _keys(keys)
    if parts := list(dict.fromkeys(part for each in (found, *slots) for part in each.parts)):
        yield f"parts: {', '.join(parts)}"
    if users := _users(found, more):
        yield f"used by: {', '.join(users)}"
    yield f"file: {found.file}"
    if found.group == "method":
        yield f"train it: ltrun {shlex.quote(found.word)} dataset={option.trained_on or PUBLISHED_ON}"
        if others := [dataset for method, dataset in recipes(more) if method == option.name]:
            yield f"published recipes on further data sets: {', '.join(f'dataset={dataset}' for dataset in others)}"


def _several(dataset: str, more: Sequence[Path]) -> bool:
    """Returns whether a data set of the catalogue has several labels per image."""
    if dataset not in catalogue.names(more)["dataset"]:
        return False
    return any((key.path, key.default) == ("dataset.task", MULTI_LABEL) for key in setting("dataset", dataset, more).keys)


def _slots(found: Setting, more: Sequence[Path]) -> Iterator[Setting]:
    """Yields the options that an option chooses, and in turn the options that those choose."""
    for group, name, package in found.choices:
        each = setting(group, name, more, package or None)
        yield each
        yield from _slots(each, more)


def _where(slot: Setting) -> str:
    stage = slot.package.rpartition(".")[0]
    return f"{slot.word} in {stage}" if stage else slot.word


def _keys(keys: Sequence[Key]) -> Iterator[str]:
    typed = {shlex.quote(f"{key.path}={key.default}"): key.comment for key in keys}
    width = min(max(map(len, typed)), 48)
    for word, comment in typed.items():
        yield f"  {word:<{width}}  {comment}".rstrip()


def _users(found: Setting, more: Sequence[Path]) -> list[str]:
    """Returns the methods and the stage plans that choose an option."""
    if found.option.name == "none" or found.group == "method":
        return []
    return [
        f"{group}={option.name}"
        for group in ("method", "decoupling")
        for option in catalogue.options(group, more)
        if any(choice[:2] == (found.group, found.option.name) for choice in setting(group, option.name, more).choices)
    ]


def _folder(path: Path) -> Path:
    """Returns the folder of the run that a path means: itself, or the folder of a file, or the only run below a folder."""
    folder = path if path.is_dir() else path.parent
    if any((folder / name).exists() for name in TRACES):
        return folder
    runs = sorted({Path(place) for place, _, files in os.walk(folder) if set(files) & set(TRACES)}) if path.is_dir() else []
    if len(runs) == 1:
        return runs[0]
    if not runs:
        raise ConfigError(f"{path} is not a run: name the folder of a run, which has a {RESULT} when it is done")
    listed = ", ".join(map(str, runs[:3])) + (", ..." if len(runs) > 3 else "")
    raise ConfigError(f"{path} has {len(runs)} runs: show one of them ({listed}), or all with ltrun report {path}")
