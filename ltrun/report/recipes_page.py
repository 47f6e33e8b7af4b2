"""Markdown tables of the published recipes of large data sets: training in words, published accuracy, own runs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltrun.config import catalogue
from ltrun.config.compose import Job
from ltrun.config.explain import explained
from ltrun.config.option import Setting
from ltrun.config.presets import jobs_of
from ltrun.config.published import recipes
from ltrun.errors import ConfigError
from ltrun.report.preset_runs import runs_of
from ltrun.report.render.markdown import escaped
from ltrun.results.record import RunRecord
from ltrun.types import fraction_of

BREAK = "<br>"
GROUPS = ("method", "dataset")
USUAL = {
    "resampling": "instance",
    "ensemble": "none",
    "augmentation": "none",
    "representation": "none",
}  # options not worth a word
NOT_YET = "not yet run"
HEADS = ("Preset", "Recipe", "Published", "State")
EXPECTED = re.compile(
    r"(?P<all>\d+\.\d|no number at hand)(?: \((?P<many>\d+\.\d), (?P<medium>\d+\.\d), (?P<few>\d+\.\d)\))?, "
    r"(?P<network>[\w-]+), (?P<epochs>[\w ]+ epochs); (?P<source>.+)"
)
"""`expected:` of a recipe: accuracy in percent, groups of classes in parentheses, network, epochs, source."""


def recipe_tables(records: Sequence[RunRecord] = (), more: Sequence[Path] = ()) -> str:
    """Returns a heading and a table for each data set that has recipes. Needs `composing`.

    records: runs that fill the column of states. more: folders of the user's options. Raises ConfigError.
    """
    of_dataset: defaultdict[str, dict[str, Setting]] = defaultdict(dict)
    for (method, dataset), found in recipes(more).items():
        of_dataset[dataset][method] = found
    titles = {
        group: {option.name: option.title for option in catalogue.options(group, more)} for group in ("method", "dataset")
    }
    return "\n\n".join(
        f"### {escaped(titles['dataset'].get(dataset) or dataset)}\n\n{_table(dataset, found, titles['method'], records)}"
        for dataset, found in sorted(of_dataset.items())
    )


def _table(dataset: str, found: Mapping[str, Setting], titles: Mapping[str, str], records: Sequence[RunRecord]) -> str:
    try:
        jobs = jobs_of(list(found), dataset)
    except Exception as error:
        raise ConfigError(f"the recipes of dataset={dataset} do not compose: {explained(error, [])}") from None
    runs = runs_of(jobs, records, dataset)
    rows = [
        (
            f"{escaped(titles.get(method) or method)}{BREAK}`{method}`",
            escaped(training(jobs[method])),
            _published(recipe.option.expected),
            runs[method].text if runs[method].n else NOT_YET,
        )
        for method, recipe in sorted(found.items())
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEADS, [":--"] * len(HEADS), *rows))


def _published(expected: str) -> str:
    """Returns the accuracy of all classes, of the three groups below it, and the source."""
    said = EXPECTED.fullmatch(expected)
    if said is None:
        return escaped(expected)
    groups = " / ".join(filter(None, said.group("many", "medium", "few")))
    return BREAK.join(filter(None, (said["all"], groups, escaped(f"{said['network']}, {said['epochs']}; {said['source']}"))))


def training(job: Job) -> str:
    """Says how a job trains: network, epochs, batch, optimizer, schedule, ensemble, augmentation, second stage."""
    config, optimizer = job.config, job.config["optimizer"]
    weights = config["network"].get("weights")
    said = [
        network_name(job) + (f" with the weights {weights}" if weights else ""),
        f"{config['epochs']} epochs",
        f"batches of {config['batch_size']}",
        f"rate {optimizer['lr']:g}{_rates(optimizer)}",
        f"weight decay {optimizer['weight_decay']:g}",
        *(["Nesterov momentum"] if optimizer.get("nesterov") else []),
        schedule_words(config["schedule"], config["epochs"]),
    ]
    said += [f"{slot}={job.choices[slot]}" for slot, usual in USUAL.items() if job.choices.get(slot, usual) != usual]
    later = [name for name in config["plan"] if config["stages"][name].get("fraction") is not None]
    return "; ".join([", ".join(said), *(_stage(name, job) for name in later)])


def network_name(job: Job) -> str:
    """Returns the network as papers write it: ResNeXt-50 for network=resnext50."""
    name = job.choices["network"]
    found = re.fullmatch(r"(resnet|resnext)(\d+)", name)
    return f"{ {'resnet': 'ResNet', 'resnext': 'ResNeXt'}[found[1]] }-{found[2]}".replace(" ", "") if found else name


def schedule_words(schedule: Mapping[str, Any], epochs: int) -> str:
    """Says how the rate falls: a cosine, or factors and the epochs from which they hold, and how it warms up."""
    if "milestones" in schedule:
        steps = zip(schedule["factors"], schedule["milestones"], strict=True)
        falls = "times " + ", ".join(f"{factor:g} from epoch {fraction_of(epochs, begin)}" for factor, begin in steps)
    else:
        falls = "cosine"
    warm = fraction_of(epochs, schedule.get("warmup", 0.0))
    return f"{falls} after a warm-up of {warm} epochs" if warm else falls


def _rates(optimizer: Mapping[str, Any]) -> str:
    rates = optimizer.get("rates") or {}
    others = [factor for pattern, factor in rates.items() if "head" not in pattern]
    return f" ({optimizer['lr'] * others[0]:g} outside the head)" if others else ""


def _stage(name: str, job: Job) -> str:
    epochs = fraction_of(job.config["epochs"], job.config["stages"][name]["fraction"])
    sampler = job.choices.get(f"resampling@stages.{name}.resampling")
    return f"then {epochs} epochs of the {name}" + (f" with resampling={sampler}" if sampler else "")
