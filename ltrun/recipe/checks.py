"""Checks of a recipe: errors for combinations that make no sense, warnings for stages that balance twice or are too short."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ltrun import parts
from ltrun.backbone import INPUTS
from ltrun.config.bind import Bound, public_name
from ltrun.errors import ConfigError
from ltrun.metrics import BOTH, MULTI_LABEL
from ltrun.recipe.stage import MAIN, Recipe, Stage

GIVES = {
    "cosines": "classifier 'cosine'",
    "products": "classifier 'linear' or 'lws'",
    "heads of cosines": "classifier 'causal'",
    "shapes": "classifier 'gist'",
    "experts": "ensemble 'ride' or 'sade'",
    "auxiliary": "transfer 'abc'",
    "simplex": "classifier 'etf'",
    "taxonomy": "classifier 'realistic_taxonomic'",
    "priors": "representation 'npe'",
    "memory": "representation 'oltr'",
    "router": "ensemble 'ride_routing'",
    "owners": "ensemble 'ace'",
    "groups": "classifier 'bags'",
}
NEUTRAL = {"resampling": "instance", "classifier": "linear"}  # slots without an option 'none'


Provided = dict[str, frozenset[str]]  # name of an option -> fields of outputs and properties of logits that it provides


def provided_by(stages: Sequence[Stage]) -> Iterator[Provided]:
    """Yields what network and classifier provide in each stage; a classifier is kept from stage to stage, perhaps wrapped."""
    network = stages[0].network
    head = stages[0].head
    name, has = head.origin, head.target.provides | {"head"}
    for index, stage in enumerate(stages):
        if index and stage.reset_head:
            name, has = stage.head.origin, stage.head.target.provides | {"head"}
        if stage.wrap is not None:
            name, has = stage.wrap.origin, stage.wrap.target.provides | (has & stage.wrap.target.keeps)
        fields = network.target.provides if "head" in has else network.target.provides - {"head"}
        shown = network.origin or "the plain network (ensemble=none)"
        yield {shown: fields} | {name: has - {"head"} | (fields if name == shown else frozenset())}


def check_stage(stage: Stage, first: Stage, provided: Provided) -> None:
    """Raises ConfigError, which names both slots, for a combination that makes no sense."""
    network = first.network
    if stage is not first and stage.network.target is not network.target and stage.network.origin:
        raise ConfigError(f"stages.{stage.name}: {stage.network.origin} would replace {first.name}'s network; drop it")
    _, loss = stage.terms.get("classification", (1.0, None))
    if loss is not None and not loss.wants("classify"):
        for part in [*stage.adjusts, *stage.weighs, *([stage.criterion] if stage.criterion else [])]:
            slot = part.path.split(".")[-2]
            raise ConfigError(
                f"{part.origin} has no effect beside {loss.origin}, which has its own classification loss; set "
                f"{slot}={NEUTRAL.get(slot, 'none')}"
            )
    for name, stream in stage.streams.items():
        if stream.of is not None and (stream.of not in stage.streams or stage.streams[stream.of].sampler is None):
            raise ConfigError(f"{stream.origin}: stream '{name}' needs the rows of a stream with a sampler, got '{stream.of}'")
    _check_inside(stage, first)
    terms = [part for _, part in stage.terms.values()]
    for part in [*terms, *stage.mixers.values(), *stage.feature_mixers.values(), network, stage.update]:
        for name in getattr(part.target, "streams", ()):
            if name not in stage.streams:
                raise ConfigError(
                    f"{part.origin or part.path} needs the stream '{name}', which no slot of stage '{stage.name}' provides"
                )
    for part in stage.parts():
        _check_reads(part, provided)
    _check_outer(stage, stage.update)
    _check_fixed(stage, provided)
    for name in network.target.terms:
        if name not in stage.terms:
            raise ConfigError(
                f"{network.origin or network.path} predicts with a classifier that only its term '{name}' trains, which stage "
                f"'{stage.name}' drops; set decoupling=none, or keep the slot in that stage"
            )
    for mixer in [*stage.mixers.values(), *stage.feature_mixers.values()]:
        for _, term in stage.terms.values():
            if not term.target.mixed:
                raise ConfigError(f"{mixer.origin} mixes labels, which {term.origin} cannot use; drop one of them")


def check_tasks(recipe: Recipe, dataset: str) -> None:
    """Raises ConfigError for a data set without labels of the task, and for parts that cannot use them. dataset: its option."""
    several = recipe.task == MULTI_LABEL
    found = f"dataset={dataset} has {'several labels' if several else 'one label'} per image"
    if recipe.task not in recipe.source.target.tasks:
        (known,) = recipe.source.target.tasks
        raise ConfigError(f"dataset.task: dataset={dataset} has labels of the task {known}; remove dataset.task={recipe.task}")
    for part in [*(part for stage in recipe.stages for part in stage.parts()), *recipe.posthoc.values()]:
        refused = next((node for node in part.walk() if recipe.task not in getattr(node.target, "accepts", BOTH)), None)
        if refused is not None:
            needs = "one label per image" if several else "several labels per image"
            raise ConfigError(
                f"{part.origin or part.path} needs {needs} ({public_name(refused.target)}), and {found}; choose another option"
            )


def check_maps(recipe: Recipe) -> None:
    """Raises ConfigError for an augmentation that weighs maps by class weights, where a neck lies between the two."""
    reader = next(filter(None, map(_reader_of_maps, recipe.stages)), None)
    if reader is not None and recipe.backbone.arguments.get("neck") is not None:
        raise ConfigError(f"{reader.origin} needs a class weight for each channel of the maps; set network.neck=null")


def _reader_of_maps(stage: Stage) -> Bound[parts.Augment] | None:
    augments = [part for stream in stage.streams.values() for part in (stream.augments or {}).values()]
    return next((part for part in augments if part.target.maps), None)


def check_trained(last: Stage) -> None:
    """Raises ConfigError for a classifier that predicts without training: no term of the last stage reads its logits."""
    loss = last.terms["classification"][1] if "classification" in last.terms else None
    read = frozenset().union(*(node.target.reads for _, term in last.terms.values() for node in term.walk()))
    if loss is not None and not read & {"logits", "experts", "head"}:
        raise ConfigError(
            f"{loss.origin} trains no classifier, and no stage after '{last.name}' does; set decoupling=linear, which trains "
            "one on the frozen features"
        )


def _check_inside(stage: Stage, first: Stage) -> None:
    """Raises ConfigError for what a network cannot show or have changed inside, and for teachers that cannot be."""
    network, mixer = first.network, next(iter(stage.feature_mixers.values()), None)
    if mixer is not None and network.target.forward is not parts.Network.forward:
        raise ConfigError(
            f"{mixer.origin} changes features inside the network, and {network.origin or network.path} has a way of its own "
            "there; drop one of them"
        )
    places = network.target.places_of(network.arguments)
    for part in stage.feature_mixers.values():
        given = part.arguments.get("points", part.target.points)
        lost = [point for point in given if places is not None and point not in places]
        if lost:
            raise ConfigError(
                f"{part.origin} acts at {lost[0]}, which lies inside the branches of {network.origin}; drop one of them, or "
                f"set {part.path}.points=[{','.join(point for point in given if point not in lost)}]"
            )
    reader = _reader_of_maps(stage)
    if reader is not None and places == [INPUTS, "features"]:
        raise ConfigError(f"{reader.origin} reads maps, which {network.origin or network.path} does not show; drop one of them")
    if mixer is not None and stage.update.wants("outer"):
        raise ConfigError(
            f"{mixer.origin} changes features inside the network, which {stage.update.origin or stage.update.path} cannot "
            "differentiate twice; drop one of them"
        )
    for name, teacher in stage.teachers.items():
        if name in stage.streams:
            raise ConfigError(f"{teacher.path}: '{name}' is the name of a stream; choose another name")
        if teacher.previous and stage is first:
            raise ConfigError(f"{teacher.path}: '{stage.name}' is the first stage, before which there is no network; drop it")
    for _, term in stage.terms.values():
        for name in getattr(term.target, "teachers", ()):
            if name not in stage.teachers:
                raise ConfigError(
                    f"{term.origin or term.path} needs the teacher '{name}', which no slot of stage '{stage.name}' provides"
                )


def _check_fixed(stage: Stage, provided: Provided) -> None:
    """Raises ConfigError for a stage that trains the classifier alone, where that has nothing to learn."""
    name = next((option for option, has in provided.items() if "simplex" in has), None)
    if name is not None and stage.trainable and all("head" in pattern for pattern in stage.trainable):
        sampler = stage.streams[MAIN].sampler
        place = "" if sampler is None else sampler.origin.partition(" in ")[2]  # "stage 'classifier' of decoupling=crt"
        raise ConfigError(
            f"{name} is fixed, and {place or f'stage {stage.name!r}'} trains nothing but the classifier; drop one of them"
        )


def _check_outer(stage: Stage, update: Bound[parts.Update]) -> None:
    """Raises ConfigError for outer parameters without an update that learns them, and for such an update without them."""
    outer = next((part for part in stage.parts() if _declares(part, "outer")), None)
    if outer is not None and not update.wants("outer"):
        raise ConfigError(
            f"{outer.origin or outer.path} has parameters that the optimizer does not train; give its option an 'update' that "
            "does, such as ltrun.engine.update.Bilevel"
        )
    if outer is None and update.wants("outer"):
        raise ConfigError(f"{update.origin or update.path} has an update with nothing to learn; remove its 'update'")


def _check_reads(part: Bound[Any], provided: Mapping[str, frozenset[str]]) -> None:
    reads = frozenset().union(*(getattr(node.target, "reads", frozenset()) for node in part.walk()))
    missing = reads.difference(*provided.values())
    if missing and part.origin:
        names = " and ".join(provided)
        way = " and ".join(GIVES[name] for name in sorted(missing) if name in GIVES)
        raise ConfigError(
            f"{part.origin} reads {', '.join(sorted(missing))}, which {names} do not provide; "
            + (f"choose {way}, or another option" if way else "choose another option")
        )


def check_posthoc(recipe: Recipe, provided: Provided) -> None:
    """Raises ConfigError for a post-hoc part that cannot work. provided: by the last stage's network and head."""
    for name, part in recipe.posthoc.items():
        if name == "plain":
            raise ConfigError("posthoc.predictors.plain: 'plain' is the network's own prediction; choose another name")
        _check_reads(part, provided)
        if unknown := part.target.sees - parts.EVIDENCE:
            raise ConfigError(f"{part.origin}: sees '{min(unknown)}'; a post-hoc part sees {', '.join(sorted(parts.EVIDENCE))}")


def balanced_twice(recipe: Recipe) -> list[str]:
    """Returns warnings for stages in which two slots counter the class prior: allowed, but usually worse than one of them."""
    found: list[str] = []
    for stage in recipe.stages:
        main = stage.streams[MAIN].sampler
        single = [part for part in (main, stage.criterion) if part]
        trained = [*single, *stage.weighs, *stage.adjusts, *(part for _, part in stage.terms.values())]
        last = stage is recipe.stages[-1]
        for part in [None, *(recipe.posthoc.values() if last else [])]:  # each post-hoc part is a row of its own
            names = list(dict.fromkeys(p.origin for p in [*trained, *([part] if part else [])] if _balances(p)))
            if len(names) > 1 and (part is None or _balances(part)):
                found.append(
                    f"stage '{stage.name}' balances the classes more than once: {' and '.join(names)}. This costs "
                    "accuracy: Balanced Softmax on ImageNet-LT falls from 51.2 to 49.1 or less (Zhang et al., arXiv 2110.04596)"
                )
    return list(dict.fromkeys(found))


def too_short(recipe: Recipe) -> list[str]:
    """Returns warnings for stages that end before one of their parts, such as a deferred one, takes effect."""
    found = []
    for stage in recipe.stages:
        late = [part.origin or part.path for part in stage.parts() if any(_waits(node, stage.epochs) for node in part.walk())]
        if late:
            names, epochs = " and ".join(dict.fromkeys(late)), "1 epoch" if stage.epochs == 1 else f"{stage.epochs} epochs"
            found.append(f"stage '{stage.name}' has {epochs}, too few for {names} to take effect; give it more")
    return found


def _waits(node: Bound[Any], epochs: int) -> bool:
    """Whether a stage of `epochs` ends before the class of a node takes effect; start=0 defers nothing."""
    return getattr(node.target, "acts_from", 0) >= epochs and node.arguments.get("start") != 0


def _balances(part: Bound[Any]) -> bool:
    return _declares(part, "balances")


def _declares(part: Bound[Any], flag: str) -> bool:
    """Whether the class of a node, or of a node nested in it, sets a flag of Part."""
    return any(getattr(node.target, flag, False) for node in part.walk())


def check_name(name: str, path: str) -> None:
    """Raises ConfigError for a name that cannot be a key of a module and part of a file name."""
    if not re.fullmatch(r"[A-Za-z]\w{0,49}", name):
        raise ConfigError(f"{path}: '{name}' is not a valid name: begin with a letter, use letters, digits and _, at most 50")
