"""Markdown tables of the published recipes of large data sets: training in words, published accuracy, own runs.

The words are read from the files of options alone, without Hydra; a test compares them with composed configurations.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltrun.config import catalogue
from ltrun.config.option import Setting
from ltrun.config.published import GROUP, chosen, recipes, values
from ltrun.metrics import GROUPS
from ltrun.report.render.markdown import escaped

BREAK = "<br>"
TITLED = ("method", "dataset")
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


def recipe_tables(states: Mapping[tuple[str, str], str], more: Sequence[Path] = ()) -> str:
    """Returns a heading and a table for each data set that has recipes.

    states: (method, data set) -> accuracy of own runs, where there are any. more: folders of the user's options. Raises
    ConfigError.
    """
    of_dataset: defaultdict[str, dict[str, Setting]] = defaultdict(dict)
    for (method, dataset), recipe in recipes(more).items():
        of_dataset[dataset][method] = recipe
    methods, datasets = ({option.name: option.title for option in catalogue.options(group, more)} for group in TITLED)
    parts = []
    for dataset, found in sorted(of_dataset.items()):
        rows = [
            (
                f"{escaped(methods.get(method) or method)}{BREAK}`method={method} dataset={dataset}`",
                escaped(training(method, dataset, more)),
                _published(recipe.option.expected),
                states.get((method, dataset), NOT_YET),
            )
            for method, recipe in sorted(found.items())
        ]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in (HEADS, [":--"] * len(HEADS), *rows))
        parts.append(f"### {escaped(datasets.get(dataset) or dataset)}\n\n{table}")
    return "\n\n".join(parts)


def _published(expected: str) -> str:
    """Returns the accuracy of all classes, of the three groups below it, and the source."""
    said = EXPECTED.fullmatch(expected)
    if said is None:
        return escaped(expected)
    groups = " / ".join(filter(None, said.group(*GROUPS)))
    return BREAK.join(filter(None, (said["all"], groups, escaped(f"{said['network']}, {said['epochs']}; {said['source']}"))))


def training(method: str, dataset: str, more: Sequence[Path] = ()) -> str:
    """Says how a method trains on a data set: network, epochs, batch, optimizer, schedule, options, second stage."""
    options = chosen(method, dataset, more)
    network, optimizer, schedule = (
        values(group, options[group], dataset, more) for group in ("network", "optimizer", "schedule")
    )
    top = {"epochs": schedule["epochs"], "batch_size": 128} | values("dataset", dataset, dataset, more)
    top |= values(GROUP, f"{method}@{dataset}", dataset, more)
    epochs, weights = int(top["epochs"]), network.get("weights")
    said = [
        network_name(options["network"]) + (f" with the weights {weights}" if weights else ""),
        f"{epochs} epochs",
        f"batches of {top['batch_size']}",
        f"rate {optimizer['lr']:g}{_rates(optimizer)}",
        f"weight decay {optimizer['weight_decay']:g}",
        *(["Nesterov momentum"] if optimizer.get("nesterov") else []),
        schedule_words(schedule, epochs),
    ]
    said += [f"{slot}={options[slot]}" for slot, usual in USUAL.items() if options[slot] != usual]
    plan = values("decoupling", options["decoupling"], dataset, more)["stages"]
    later = [_stage(name, stage["fraction"], epochs, options) for name, stage in plan.items() if "fraction" in stage]
    return "; ".join([", ".join(said), *later])


def network_name(option: str) -> str:
    """Returns the network as papers write it: ResNeXt-50 for network=resnext50."""
    found = re.fullmatch(r"(resnet|resnext)(\d+)", option)
    return f"{'ResNeXt' if found[1] == 'resnext' else 'ResNet'}-{found[2]}" if found else option


def schedule_words(schedule: Mapping[str, Any], epochs: int) -> str:
    """Says how the rate falls: a cosine, or factors and the epochs from which they hold, and how it warms up."""
    if "milestones" in schedule:
        steps = zip(schedule["factors"], schedule["milestones"], strict=True)
        falls = "times " + ", ".join(f"{factor:g} from epoch {_epochs(begin, epochs)}" for factor, begin in steps)
    else:
        falls = "cosine"
    share = schedule.get("warmup", 0.0)
    if schedule.get("warmup_by") == "step":
        return f"{falls} after a warm-up over {share:.0%} of the steps"
    warm = _epochs(share, epochs)
    return f"{falls} after a warm-up of {warm} epochs" if warm else falls


def _rates(optimizer: Mapping[str, Any]) -> str:
    rates = optimizer.get("rates") or {}
    others = [factor for pattern, factor in rates.items() if "head" not in pattern]
    return f" ({optimizer['lr'] * others[0]:g} outside the head)" if others else ""


def _stage(name: str, fraction: float, epochs: int, options: Mapping[str, str]) -> str:
    sampler = options.get(f"resampling@stages.{name}.resampling")
    return f"then {_epochs(fraction, epochs)} epochs of the {name}" + (f" with resampling={sampler}" if sampler else "")


def _epochs(fraction: float, epochs: int) -> int:
    """The same as `ltrun.types.fraction_of`, whose module imports torch."""
    return int(fraction * epochs + 1e-9)
