"""Job of a recorded run, to train the configuration of a result.json again on this machine.

A record may come from a stranger. This machine and this command line decide where results go, which packages may be imported
and whether an old run is replaced; the record never does.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ltrun.config.compose import compose_job
from ltrun.config.job import Job
from ltrun.config.pretrained import resolve_weights
from ltrun.config.rows import rows_of
from ltrun.config.settings import Settings, leaves, node_at
from ltrun.config.teachers import resolve_teachers
from ltrun.errors import ConfigError, DataError, LtrunError, did_you_mean
from ltrun.machine import at_home
from ltrun.report.render.common import plain
from ltrun.results.address import INERT, address, fingerprint, inert_keys
from ltrun.results.record import RunRecord
from ltrun.results.renamed import with_tables
from ltrun.taxonomy import teachers_in

OWN = ("outputs", "force", "plugins", "sweep")  # keys that are never taken from a record
FIXED = ("dataset.name", "dataset.inert", "network.cut")  # inert keys that belong to an option
ROOT = "dataset.root"  # other machines have the same images elsewhere
PLAIN = re.compile(r"[\w.]+=[\w.,+\[\]-]*")  # words of a command that name only options and numbers


def job_of_record(record: RunRecord, file: Path, words: Sequence[str]) -> Job:
    """Returns the job that trains a recorded run here. Hydra must be initialised.

    words: overrides of keys outside a run's address, of dataset.root or of the seed. Raises Hydra's errors, ConfigError for a
    word that would make it another run, and DataError, which names the file, for a record that cannot be trained here.
    """
    given = _values(words, record)
    own = compose_job([word for word in words if not word.startswith(("dataset.", "network."))]).config
    config = copy.deepcopy(dict(record.config))
    try:
        _check(record)
        _set_machine(config, own, given)
        _set_data(config, given)
        _set_weights(config, given)
        teachers = _set_teachers(config, given, command_of(record, words))
        settings = Settings.of(config)
        _check_packages(config, settings.plugins, record.config.get("plugins"))
        mark = fingerprint(config)
    except LtrunError as error:
        raise DataError(f"{file}: {error}") from None
    return Job(
        config=config,
        choices=dict(record.choices),
        changes={plain(key): plain(value) if isinstance(value, str) else value for key, value in record.changes.items()},
        method=record.method,
        dataset=record.dataset,
        fingerprint=mark,
        folder=address(Path(at_home(settings.outputs, "outputs")), record.dataset, record.method, mark, settings.seed),
        headline=record.headline,
        command=command_of(record, words),
        teachers=teachers,
    )


def config_here(record: RunRecord, file: Path, plugins: Sequence[str]) -> dict[str, Any]:
    """Returns the configuration with which the network of a recorded run is built here, without its data.

    plugins: packages that this command allows. Hydra must be initialised. Raises DataError, which names the file, for a record
    that cannot be built here.
    """
    own, config = compose_job([]).config, with_tables(record.config)
    try:
        for section in ("evaluation", "runtime"):
            config[section] = {**own[section], **config.get(section, {})}
        _set_machine(config, own, {})
        config["plugins"] = list(plugins)
        _check_packages(config, plugins, record.config.get("plugins"), "in LTRUN_PLUGINS={}")
    except LtrunError as error:
        raise DataError(f"{file}: {error}") from None
    return config


def command_of(record: RunRecord, words: Sequence[str]) -> list[str]:
    """Returns the recorded command with these words in place of its words for the same keys; empty if none was recorded."""
    keys = {word.partition("=")[0] for word in words}
    return [*(word for word in record.command if _key(word) not in keys), *words] if record.command else []


def drift(record: RunRecord) -> list[str] | None:
    """Returns the keys whose values the recorded command would compose differently here, because options changed since.

    None if it does not compose any more. A command that may name files is not composed, and has no such keys: the files are
    another machine's, and may be a stranger's. Hydra must be initialised.
    """
    untold = {*inert_keys(record.config), ROOT}
    words = [word for word in record.command if _key(word) not in untold]
    if not record.command or not all(PLAIN.fullmatch(word) for word in words):
        return []
    try:
        now = dict(leaves(compose_job(words).config))
    except (HydraException, OmegaConfBaseException, LtrunError):
        return None
    then = dict(leaves(record.config))
    return sorted(key for key in then.keys() | now.keys() if key not in untold and then.get(key) != now.get(key))


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _values(words: Sequence[str], record: RunRecord) -> dict[str, Any]:
    """Returns key -> value of each override. Raises ConfigError for an override that would make another run."""
    known = {*inert_keys(record.config), ROOT}.difference(FIXED)
    found = {}
    for override in OverridesParser.create().parse_overrides(list(words)):
        key = str(override.key_or_group)
        if key not in known or override.type is not OverrideType.CHANGE or override.package or override.is_sweep_override():
            *section, last = key.split(".")
            another = last in node_at(record.config, section) or key in record.choices
            hint = ", and this makes another run; leave it out" if another else did_you_mean(key, known)
            raise ConfigError(f"{override.input_line}: a rerun trains the configuration of its record{hint}")
        found[key] = override.value()
    return found


def _set_machine(config: dict[str, Any], own: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Copies from `own` this machine's keys, the keys of this command line, and keys that an older record lacks."""
    for key in INERT:
        *section, last = key.split(".")
        node = config.setdefault(section[0], {}) if section else config
        if not isinstance(node, dict):
            raise DataError(f"its {section[0]} is not a mapping")
        if key not in FIXED and (key in OWN or key in given or last not in node):
            node[last] = node_at(own, section)[last]


def _set_data(config: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Sets where the images lie and how they are read. Nothing is downloaded to a folder that only the record names."""
    dataset = config["dataset"]
    for key, value in given.items():
        if key.startswith("dataset."):
            dataset[key.removeprefix("dataset.")] = value
    root = dataset.get("root")
    if not isinstance(root, str):
        return
    if ROOT not in given and not Path(root).is_dir():
        if ROOT not in inert_keys(config):
            raise ConfigError(
                f"its images were in {plain(root)}, which is not a folder here: say where they are with {ROOT}=FOLDER"
            )
        dataset["root"] = compose_job([]).config["dataset"].get("root", "data")
    elif ROOT not in given and "dataset.download" not in given and "download" in dataset:
        dataset["download"] = False
    if ROOT not in inert_keys(config):
        dataset["root"] = str(Path(at_home(dataset["root"], ROOT)).resolve())


def _set_weights(config: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Sets where pre-trained weights lie. Nothing is downloaded that only the record names."""
    network = config["network"]
    if isinstance(network, dict) and network.get("weights") is not None:
        named = {name: given[f"network.{name}"] for name in ("weights", "download") if f"network.{name}" in given}
        network |= ({"download": False} if "download" in network else {}) | named
        resolve_weights(config, config.get("plugins") or ())


def _set_teachers(config: dict[str, Any], given: Mapping[str, Any], command: Sequence[str]) -> dict[str, Job]:
    """Sets where finished teachers lie; returns the jobs of the others, which train on this machine's terms."""
    nodes = dict(teachers_in(config))
    for path, node in nodes.items():
        if f"{path}.run" in given:
            node["run"] = given[f"{path}.run"]
    here = [f"{key}={json.dumps(config[key])}" for key in OWN if key != "force"] if nodes else []
    return resolve_teachers(config, [*(word for word in command if _key(word) not in OWN), *here], compose_job)


def _check(record: RunRecord) -> None:
    """Raises DataError for a record whose fields contradict one another."""
    by_hand = "the record was changed by hand, or another version of ltrun wrote it"
    if (mark := fingerprint(record.config)) != record.fingerprint:
        raise DataError(f"its configuration has the fingerprint {mark}, but it is filed under {record.fingerprint}: {by_hand}")
    dataset = node_at(record.config, ["dataset"]).get("name")
    for key, one, other in (
        ("data set", record.dataset, dataset),
        ("selection", record.selection, record.config.get("selection")),
        ("seed", record.seed, record.config.get("seed")),
    ):
        if one != other:
            raise DataError(f"its {key} is {one!r}, but {other!r} in its configuration: {by_hand}")
    if record.headline not in ("plain", *rows_of(record.config.get("posthoc"))):
        raise DataError(f"its predictor {record.headline!r} is missing from its configuration: {by_hand}")


def _check_packages(config: Mapping[str, Any], plugins: Sequence[str], recorded: object, way: str = "as plugins=[{}]") -> None:
    """Raises ConfigError for a plugin of the record that is not named here. `bind` refuses every other package."""
    used = {target.partition(".")[0] for target in _targets(config)}
    named = recorded if isinstance(recorded, (list, tuple)) else ()
    if missing := [name for name in named if name in used and name not in plugins]:
        packages = ",".join(missing)
        raise ConfigError(
            f"its parts come from the plugin {packages}: if you trust that code, name it here, {way.format(packages)}"
        )


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_" and isinstance(value, str):
                yield value
            yield from _targets(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _targets(value)
