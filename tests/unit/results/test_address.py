"""Addresses of configurations: equal for all spellings of a configuration, stable as ltrun gains slots, keys and modules."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ltrun.config.catalogue import folders
from ltrun.config.settings import leaves
from ltrun.errors import ConfigError
from ltrun.results.address import INERT, OF_NETWORKS, address, class_name, fingerprint, inert_keys
from ltrun.results.address import NEUTRAL as KNOWN
from ltrun.taxonomy import DATASET_KEYS, GROUPS, STAGE_SLOTS
from tests.support.cases import CONF, OPTIONS, composed
from tests.support.narrow import of_type

Config = dict[str, Any]


def nest(path: str, value: Any) -> Config:
    for key in reversed(path.split(".")):
        value = {key: value}
    return of_type(dict, value)


# ------------------------------------------------------------------------------------------------------------ one spelling


@pytest.mark.parametrize("key", INERT)
def test_inert_keys_share_a_fingerprint(key: str) -> None:
    assert fingerprint(nest(key, "a")) == fingerprint(nest(key, "b"))


@pytest.mark.parametrize("key", ["runtime.precision", "dataset.imbalance", "dataset.root", "margin.seed", "evaluation.few"])
def test_other_keys_change_the_fingerprint(key: str) -> None:
    assert fingerprint(nest(key, "a")) != fingerprint(nest(key, "b"))


def test_every_inert_key_exists() -> None:
    conf = folders()[0]
    options = [
        dict(leaves({"network": yaml.safe_load(file.read_text(encoding="utf-8"))})) for file in (conf / "network").iterdir()
    ]
    files = [conf / "config.yaml", *(conf / "dataset").iterdir()]
    known = set().union(*options, *(dict(leaves(yaml.safe_load(file.read_text(encoding="utf-8")))) for file in files))
    known |= {key.rpartition(".")[0] for key in known}  # superclasses are a mapping
    assert {*INERT, *OF_NETWORKS} <= known


def test_fingerprint_is_canonical() -> None:
    assert fingerprint({"a": 1, "b": {"c": 50}}) == fingerprint({"b": {"c": 50.0}, "a": 1e0})
    assert fingerprint({"a": [1, 2.5]}) == fingerprint({"a": [1.0, 2.5]})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})
    assert fingerprint({"a": "1"}) != fingerprint({"a": 1})
    assert fingerprint({"a": True}) != fingerprint({"a": 1})
    assert fingerprint({"a": [True]}) != fingerprint({"a": [1]})
    assert fingerprint({"a": 1}) == "015abd7f"  # the same on every Python, or finished runs would be trained again


@pytest.mark.parametrize("nothing", [None, {}, {"b": None}, {"b": {"c": {}}}], ids=str)
def test_absent_null_and_empty_are_one(nothing: Any) -> None:
    assert fingerprint({"seed": 0, "x": 1, "a": nothing}) == fingerprint({"x": 1})
    assert fingerprint({"a": {"x": 1, "b": nothing}}) == fingerprint({"a": {"x": 1}})


def test_empty_and_null_values_inside_an_argument_count() -> None:
    """A part gets an empty mapping, or a null inside a list or mapping, unchanged; only a null argument counts as absent."""
    part = {"_target_": "mine.Part"}
    assert fingerprint({"a": part | {"x": None}}) == fingerprint({"a": part})
    for value in ({}, [], [None], {"b": None}):
        assert fingerprint({"a": part | {"x": value}}) != fingerprint({"a": part})
    assert fingerprint({"a": part | {"x": {"b": 1, "c": 5}}}) != fingerprint({"a": part | {"x": {"c": 5, "b": 1}}}), (
        "it may count"
    )
    assert fingerprint({"a": part | {"x": [None, 1]}}) != fingerprint({"a": part | {"x": [1]}})
    assert fingerprint({"a": part | {"x": {"b": None, "c": 1}}}) != fingerprint({"a": part | {"x": {"c": 1}}})


@pytest.mark.parametrize(
    "path",
    [
        "augmentation.augments", "augmentation.mixers", "stages.classifier.augmentation.augments", "dataset.augments",
        "representation.streams.key.augments", "ensemble.terms", "augmentation.streams",
    ],
)  # fmt: skip
def test_the_order_of_parts_that_work_or_draw_in_turn_counts(path: str) -> None:
    """Streams and terms have an order, too: their samplers and parts draw from one generator, one after the other."""
    crop, cutout = {"crop": {"padding": 4}}, {"cutout": {"size": 8}}
    assert fingerprint(nest(path, crop | cutout)) != fingerprint(nest(path, cutout | crop))
    assert fingerprint(nest(path, {"crop": {"a": 1, "b": 2}})) == fingerprint(nest(path, {"crop": {"b": 2, "a": 1}}))
    named = path.rpartition(".")[0] + ".others"
    assert fingerprint(nest(named, crop | cutout)) == fingerprint(nest(named, cutout | crop))


@pytest.mark.parametrize("value", [float("nan"), object(), b"x", {1, 2}])
def test_values_without_a_fingerprint_are_named(value: object) -> None:
    with pytest.raises(ConfigError, match=r"a\.b must be"):
        fingerprint({"a": {"b": value}})


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("ltrun.margin.LDAM", "ltrun.margin.LDAM"),
        ("ltrun.margin.ldam.LDAM", "ltrun.margin.LDAM"),
        ("ltrun.engine.update.Bilevel", "ltrun.Bilevel"),
        ("ltrun.data.cifar.CIFARLT", "ltrun.CIFARLT"),
        ("mine.Part", "mine.Part"),
        ("mine.first.Part", "mine.first.Part"),  # not mine.second.Part, which may be another class
        ("Part", "Part"),
        (5, 5),
    ],
)
def test_a_class_is_known_by_its_family_and_name(target: Any, name: Any) -> None:
    assert class_name(target) == name


def test_no_two_classes_of_ltrun_have_one_name_in_an_address() -> None:
    found: dict[str, type] = {}
    for file in (CONF.parent / "ltrun").rglob("*.py"):
        module = importlib.import_module(
            ".".join(file.relative_to(CONF.parent).with_suffix("").parts).removesuffix(".__init__")
        )
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__.startswith("ltrun.") and name in getattr(module, "__all__", ()):
                known = class_name(f"{module.__name__}.{name}")
                assert found.setdefault(known, value) is value, f"{value} and {found[known]} share {known}"
    assert len(found) > 50


# ---------------------------------------------------------------------------------------------------------- what may change


RECORDED = {
    "erm": "f47af639",
    "ldam_drw": "21bd42a8",
    "crt": "df7bd44a",
    "sade": "edcb4139",
    "meta_weight_net": "2d3b7fcc",
}
NEUTRAL: dict[str, Any] = {
    **KNOWN,
    "dataset.task": "single_label",
    "ltrun.margin.LDAM.shift": 0.0,
    "runtime.ranks": 1,
    "flag": False,
}


def each_target(node: Any, change: Callable[[str], str]) -> Any:
    if isinstance(node, Mapping):
        return {k: change(v) if k == "_target_" else each_target(v, change) for k, v in node.items()}
    return [each_target(item, change) for item in node] if isinstance(node, list) else node


def moved(target: str) -> str:
    module, _, name = target.rpartition(".")
    return f"{module}.moved.{name}"


def with_shift(node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    own = {"shift": 0} if node.get("_target_") == "ltrun.margin.LDAM" else {}
    return {k: with_shift(v) for k, v in node.items()} | own


LASTING: dict[str, Callable[[Config], Config]] = {
    "as it is": lambda config: config,
    "a new slot": lambda config: {**config, "transfer": {}},
    "a new slot, without an option": lambda config: {**config, "transfer": None},
    "before the slot of regularisation": lambda config: {k: v for k, v in config.items() if k != "regularization"},
    "a new slot in each stage": lambda config: {
        **config, "stages": {name: {**(stage or {}), "transfer": {}} for name, stage in config["stages"].items()}
    },
    "options none in each stage": lambda config: {
        **config,
        "stages": {
            name: {**{slot: config[slot] for slot in STAGE_SLOTS if not config[slot]}, **(stage or {})}
            for name, stage in config["stages"].items()
        },
    },
    "a new key that is null": lambda config: {**config, "init": None, "dataset": {**config["dataset"], "task": None}},
    "new keys at neutral values": lambda config: with_shift(
        {
            **config,
            "dataset": {**config["dataset"], "task": "single_label"},
            "runtime": {**config["runtime"], "ranks": 1.0},
            "flag": False,
        }
    ),
    "every class in another module": lambda config: each_target(config, moved),
    "without what is inert": lambda config: {
        **config, "seed": 7, "dataset": {k: v for k, v in config["dataset"].items() if f"dataset.{k}" not in inert_keys(config)}
    },
}  # fmt: skip


@pytest.mark.parametrize("method", RECORDED)
@pytest.mark.parametrize("change", LASTING)
def test_recorded_addresses_last(method: str, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltrun.results.address.DATASET_KEYS", (*DATASET_KEYS, "task"))  # which a data set does not have yet
    config, _ = composed(f"method={method}", "dataset=cifar100_lt")
    assert fingerprint(LASTING[change](config), NEUTRAL) == RECORDED[method]


@pytest.mark.parametrize(
    ("key", "value"),
    [("dataset.task", "multi_label"), ("dataset.task", ["single_label"]), ("runtime.ranks", 2), ("flag", 0), ("flag", True)],
)
def test_a_key_at_another_value_than_its_neutral_one_counts(key: str, value: Any) -> None:
    assert fingerprint(nest(key, value), NEUTRAL) != fingerprint({}, NEUTRAL)


def test_only_the_class_that_a_neutral_argument_belongs_to_is_spared() -> None:
    for target, spared in {"ltrun.margin.LDAM": True, "ltrun.margin.LOCE": False, "mine.LDAM": False}.items():
        part = {"_target_": target, "shift": 0}
        without = {"_target_": target}
        assert (fingerprint({"margin": part}, NEUTRAL) == fingerprint({"margin": without}, NEUTRAL)) is spared


# ------------------------------------------------------------------------------------------------------------- data sets


def test_a_data_set_declares_inert_arguments() -> None:
    base = {"_target_": "mine.Mine", "root": "a", "size": 3, "inert": ["root"], "augments": {}}
    assert fingerprint({"dataset": base}) == fingerprint({"dataset": {**base, "root": "b"}})
    assert fingerprint({"dataset": base}) == fingerprint({"dataset": {**base, "name": "mine"}})
    assert fingerprint({"dataset": base}) != fingerprint({"dataset": {**base, "size": 4}})
    assert fingerprint({"dataset": base}) == fingerprint({"dataset": {k: base[k] for k in ("_target_", "size")}})


def test_superclasses_count_where_an_option_reads_them() -> None:
    """Adding them to a data set changed no recorded address; two tables are two trainings of the classifier that has them."""
    for option, counts in {"linear": False, "realistic_taxonomic": True}.items():
        words: list[list[str]] = [[], ["dataset.superclasses.loops=[zero,six,nine]"], ["dataset.superclasses=null"]]
        found = {fingerprint(composed(f"classifier={option}", *more)[0]) for more in words}
        assert len(found) == (3 if counts else 1)


@pytest.mark.parametrize("name", [*DATASET_KEYS, "_target_"])
def test_no_data_set_can_declare_the_keys_of_ltrun_inert(name: str) -> None:
    own = {*INERT, *OF_NETWORKS}
    assert inert_keys({"dataset": {"inert": [name]}}) == own
    assert inert_keys({"dataset": {"inert": name}}) == inert_keys({"dataset": None}) == inert_keys({}) == own


@pytest.mark.parametrize("dataset", OPTIONS["dataset"])
def test_where_images_lie_is_part_of_the_address_of_the_users_own_images_alone(dataset: str) -> None:
    assert "dataset" in GROUPS
    node = yaml.safe_load((CONF / "dataset" / f"{dataset}.yaml").read_text())["dataset"]
    inert = {key for key in node if f"dataset.{key}" in inert_keys({"dataset": node})}
    lists = ("imagenet_lt", "places_lt", "inat18", "voc_lt", "coco_lt")
    published = {key: {"root", "lists", "streamed", "workers"} for key in lists} | {"videolt": {"root", "lists", "workers"}}
    reading = {"cifar10_lt": {"root", "download"}, "digits_lt": set(), "digits_multi_lt": set()} | published
    assert inert - {"name", "inert", "superclasses"} == reading.get(dataset.replace("100", "10"), {"streamed", "workers"})


# -------------------------------------------------------------------------------------------------------------- addresses


def test_an_address_is_data_set_method_fingerprint_and_seed() -> None:
    found = address(Path("outputs"), "cifar100_lt", "ldam_drw", "0123abcd", 2)
    assert found == Path("outputs/cifar100_lt/ldam_drw/0123abcd/seed2")


LEAVING = ["../x", "..", ".", "", "/etc", "a/b", "a\\b", "a\0b", "a\nb", "\x1b[31m", "C:x", ".hidden", "x" * 300]


@pytest.mark.parametrize("name", LEAVING)
def test_names_that_leave_the_outputs_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="dataset"):
        address(Path("outputs"), name, "erm", "0123abcd", 0)
    with pytest.raises(ConfigError, match="method"):
        address(Path("outputs"), "digits_lt", name, "0123abcd", 0)


def test_a_negative_seed_has_no_address() -> None:
    with pytest.raises(ConfigError, match="seed must be 0 or more"):
        address(Path("outputs"), "digits_lt", "erm", "0123abcd", -1)
