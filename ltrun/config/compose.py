"""Jobs from Hydra's configurations: choices, changes against the preset, address of the result."""

from __future__ import annotations

import copy
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_module
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from ltrun.config.job import Job
from ltrun.config.option import clash
from ltrun.config.plugins import plugins_of
from ltrun.config.pretrained import resolve_weights
from ltrun.config.published import ON, composed_with_recipe
from ltrun.config.rows import rows_of
from ltrun.config.settings import Settings, leaves, refuse_unknown_keys
from ltrun.config.teachers import resolve_teachers
from ltrun.config.words import text_of
from ltrun.errors import ConfigError
from ltrun.machine import at_home
from ltrun.results.address import MODEL, address, fingerprint, inert_keys
from ltrun.taxonomy import GROUPS, MERGING, SETTINGS, SLOTS

STAGED = {"decoupling": ("plan", "stages"), "transfer": ("before", "stages", "transfer")}  # slots that may set stages
OF_HYDRA = re.compile(r"\$\{\s*hydra:\s*([\w.]+)\s*\}")
OF_RUN = re.compile(r"([^/]+/[0-9a-f]{8}/seed\d+)/?([^/]*)$")  # in the place of weights: method, fingerprint, seed, file
OF_SWEEP = re.compile(r"\+*(force|sweep\.(budget|references))=")  # words that are not in the command of a job


@contextmanager
def hydra_ready() -> Iterator[None]:
    """Starts Hydra anew with the options of ltrun and of the search path, so that command lines compose inside."""
    GlobalHydra.instance().clear()
    with initialize_config_module("ltrun.conf", version_base="1.3"):
        yield


@dataclass(frozen=True)
class _Composed:
    """A configuration that Hydra composed, and Hydra's own section. choices: group -> option. Shared, so never changed."""

    cfg: DictConfig
    choices: Mapping[str, Any]
    hydra: DictConfig

    @cached_property
    def plain(self) -> dict[str, Any]:
        return cast(dict[str, Any], OmegaConf.to_container(self.cfg))


def _options_of(loader: ConfigLoader) -> Hashable:
    """Returns what the options depend on. ltrun's own are the same whenever Hydra starts; a user's files may change between."""
    sources = [(source.provider, source.path) for source in loader.get_sources()]
    own = all(source.scheme() != "file" for source in loader.get_sources())
    return tuple(sources) if own else loader


@lru_cache(maxsize=512)
def _composed(options: Hashable, overrides: tuple[str, ...]) -> _Composed:
    """options: part of the cache key, so that configurations from other search paths are not reused."""
    loader = GlobalHydra.instance().config_loader()
    for group, typed in _typed_choices(overrides).items():
        chosen = typed.value()
        if group in MERGING or not isinstance(chosen, list):
            continue
        if {str(option) for option in chosen} <= set(loader.get_group_options(group)):
            said = _as_listed(chosen)
            raise ConfigError(f"{group}: takes one option, got {said}; combine slots, as in margin=ldam ensemble=ride")
    cfg = composed_with_recipe(overrides, composed_by_hydra)
    choices = {group: option for group, option in cfg.hydra.runtime.choices.items() if not group.startswith(f"{ON}/")}
    hydra = OmegaConf.masked_copy(cfg, "hydra")
    with open_dict(cfg):
        del cfg["hydra"]
    return _Composed(cfg, choices, hydra)


@lru_cache(maxsize=1)
def _groups(loader: ConfigLoader) -> frozenset[str]:
    return frozenset(loader.get_group_options("", ObjectType.GROUP))


@lru_cache(maxsize=1)
def _has_local(loader: ConfigLoader) -> bool:
    return "default" in loader.get_group_options("local")


def composed_by_hydra(words: Sequence[str]) -> DictConfig:
    """Returns the configuration of the words, with Hydra's own section. Raises Hydra's errors."""
    return compose("config", list(words), return_hydra_config=True)


def composed(overrides: Sequence[str]) -> _Composed:
    """Returns the configuration of a command line, not yet resolved, and sets HydraConfig for its `${hydra:...}`."""
    found = _composed(_options_of(GlobalHydra.instance().config_loader()), tuple(overrides))
    HydraConfig.instance().set_config(found.hydra)
    hydra = cast(DictConfig, HydraConfig.get())
    with read_write(hydra):
        hydra.runtime.cwd = str(Path.cwd())  # of now: the configuration may have been composed in another folder
    return found


def compose_job(overrides: Sequence[str]) -> Job:
    """Returns the job of a command line. Hydra must be initialised. Raises Hydra's errors, and ConfigError.

    Hydra takes a fifth of a second to compose a configuration. So the chosen options are composed once for all jobs of a
    sweep, and the values, which Hydra sets last, are set on a copy.
    """
    loader = GlobalHydra.instance().config_loader()
    parsed = OverridesParser.create(loader).parse_overrides(list(overrides))
    values = [override for override in parsed if _is_value(override, _groups(loader))]
    chosen = sorted(str(override.input_line) for override in parsed if override not in values)
    if values and all(override.type is OverrideType.CHANGE for override in parsed):
        shared = composed(chosen)
        cfg = copy.deepcopy(shared.cfg)
        try:
            for override in values:
                OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
            return job_of(cfg, shared.choices, overrides)
        except OmegaConfBaseException:
            pass  # composing it all below raises Hydra's own, better error
    whole = composed(overrides if values else chosen)
    return job_of(whole.cfg, whole.choices, overrides)


def _is_value(override: Override, groups: frozenset[str]) -> bool:
    """Whether an override sets a key, and neither chooses an option nor configures Hydra."""
    key = override.key_or_group
    return override.package is None and "/" not in key and key not in groups and not override.is_hydra_override()


def job_of(cfg: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str]) -> Job:
    """Returns the job of a composed configuration. choices: Hydra's group -> option. overrides: the command line's.

    Raises ConfigError for unknown keys, invalid values and choices that a run cannot have.
    """
    config = resolved(cfg)
    settings = Settings.of(config)
    config["plugins"] = plugins_of(settings, overrides)
    _resolve_root(config)
    resolve_weights(config, config["plugins"])
    loader = GlobalHydra.instance().config_loader()
    given = {name: str(option) for name, option in choices.items() if isinstance(option, str) and not name.startswith("hydra/")}
    typed = _typed_choices(overrides)
    given |= {group: _as_listed(choice.value()) for group, choice in typed.items()}
    spelled = {group: text_of(option) for group, option in given.items()}
    spelled |= {group: choice.get_value_string() for group, choice in typed.items()}
    words = {group: f"{group}={option}" for group, option in spelled.items()}
    without = ["~local"] if _has_local(loader) else []  # values of the machine's own file count as changes
    if not without:
        given.pop("local", None)
    method, dataset = given.get("method"), settings.dataset.name
    if method is None:
        raise ConfigError("method: a run needs a method; method=erm is plain training")
    options = _options_of(loader)
    preset = _composed(options, (words["dataset"], words["method"], *without))
    same = preset
    if any(given.get(group) != preset.choices.get(group) for group in GROUPS):
        same = _composed(options, (*(words[group] for group in GROUPS if group in given), *without))
    raw = cast(dict[str, Any], OmegaConf.to_container(cfg))
    refuse_unknown_keys(raw, same.plain)
    if config["dataset"].get("inert") != same.plain["dataset"].get("inert"):
        raise ConfigError("dataset.inert: only a data set's own file says which arguments an address leaves out; remove it")
    teachers = resolve_teachers(config, overrides, compose_job)
    mark = fingerprint(config)
    return Job(
        config=config,
        choices=given,
        changes=_changes(raw, same, preset, given),
        method=method,
        dataset=dataset,
        fingerprint=mark,
        folder=address(Path(at_home(settings.outputs, "outputs")), dataset, method, mark, settings.seed),
        headline=_headline(preset.plain, config),
        command=[word for word in overrides if not OF_SWEEP.match(word)],
        teachers=teachers,
    )


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Resolves the interpolations of a configuration. Raises ConfigError for an interpolation without a value."""
    for path, value in leaves(OmegaConf.to_container(cfg)):
        for found in OF_HYDRA.finditer(value) if isinstance(value, str) else ():
            if found[1].startswith("job.") or OmegaConf.select(cast(DictConfig, HydraConfig.get()), found[1]) is None:
                raise ConfigError(f"{path}: {found[0]} has no value here, because ltrun's jobs are not Hydra's; leave it out")
    try:
        return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'configuration'}: {str(error).splitlines()[0]}") from None


def _typed_choices(overrides: Sequence[str]) -> dict[str, Override]:
    """Returns group -> its override, because Hydra does not record a list of options, such as augmentation=[cmo,mixup]."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    found = {o.key_or_group: o for o in parsed if o.key_or_group in GROUPS and o.package is None and not o.is_delete()}
    for group, override in found.items():
        value = override.value()
        if isinstance(value, list) and (twice := [o for n, o in enumerate(value) if o in value[:n]]):
            raise ConfigError(f"{group}: {twice[0]} stands twice in {_as_listed(value)}; name each option once")
        options = [str(option) for option in value] if isinstance(value, list) and group == "augmentation" else []
        if clashing := clash(group, options):  # rows of post-hoc options merge on purpose
            place, first, second = clashing
            raise ConfigError(f"{group}: {first} and {second} both set '{place}' and cannot be combined; choose one of them")
    return found


def _as_listed(choice: Any) -> str:
    """Spells a choice without the quotes of Hydra's grammar: `[cmo,mixup]`."""
    return f"[{','.join(map(_as_listed, choice))}]" if isinstance(choice, list) else str(choice)


def _headline(preset: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Returns the row that stands for the method: the preset's last post-hoc row, else 'plain', the network's own prediction.

    A run without the preset's post-hoc parts, because of posthoc=none or another option, also has 'plain'.
    """
    names, kept = (list(rows_of(node.get("posthoc"))) for node in (preset, config))
    return next((name for name in reversed(names) if name in kept), "plain")


def _resolve_root(config: Mapping[str, Any]) -> None:
    """Makes dataset.root absolute if it is part of the address: photos, ./photos and ~/photos may be the same folder."""
    root = config["dataset"].get("root")
    if isinstance(root, str) and "dataset.root" not in inert_keys(config):
        config["dataset"]["root"] = str(Path(at_home(root, "dataset.root")).resolve())


def _changes(raw: Mapping[str, Any], same: _Composed, preset: _Composed, choices: Mapping[str, str]) -> dict[str, Any]:
    """Returns slot -> option where it differs from the preset's, and key -> value where it differs from the options' own.

    raw: the job's configuration. same: the configuration of the same choices without further values. preset: the
    configuration of the method and the data set alone.
    """
    changes: dict[str, Any] = {}
    for group in (*SETTINGS, *SLOTS):
        nodes = STAGED.get(group, (group,))
        differs = choices.get(group) != preset.choices.get(group)
        if differs and any(same.plain.get(node) != preset.plain.get(node) for node in nodes):
            changes[group] = choices.get(group, "?")
    before, after = dict(leaves(same.plain)), dict(leaves(raw))
    untold = (*inert_keys(raw), "dataset.root")  # a folder is not part of a label: each machine has its own
    found = {path: value for path, value in after.items() if path not in before or before[path] != value}
    found |= dict.fromkeys(filter(None, (_taken_out(path, raw) for path in before if path not in after)))
    for path, value in found.items():
        if not any(path == name or path.startswith(f"{name}.") for name in untold):
            short = path.removeprefix("stages.train.")
            is_file = path == "network.weights" and isinstance(value, str)  # each machine has it in another folder
            changes[path if short in found else short] = None if value == {} else _weights(value) if is_file else value
    return changes


def _weights(value: str) -> str:
    """Returns the name of a file of weights; for the model of a run, the run's address without its data set."""
    found = OF_RUN.search(value)
    return Path(value).name if found is None else found[1] if found[2] in ("", MODEL) else f"{found[1]}/{found[2]}"


def _taken_out(path: str, raw: Mapping[str, Any]) -> str | None:
    """Returns the outermost key on a path that a configuration lacks; None if a value replaced it, which is itself a change."""
    node: Any = raw
    steps = path.split(".")
    for n, step in enumerate(steps, 1):
        if not isinstance(node, Mapping):
            return None
        if step not in node:
            return ".".join(steps[:n])
        node = node[step]
    return None
