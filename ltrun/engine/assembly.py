"""Assembly of a stage's objective from its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltrun.engine.accumulation import rows_of_a_part
from ltrun.engine.context import RunContext
from ltrun.engine.cuts import cut_while_decoding
from ltrun.engine.frozen import Frozen
from ltrun.engine.objective import Objective
from ltrun.loss import Classification
from ltrun.parts import Augment, Crop, Frames, Network
from ltrun.recipe.stage import MAIN, Stage

Context = dict[str, Any]  # values that constructors of parts may ask for, by name


def classification_of(stage: Stage, injected: Context) -> Classification:
    """Builds the class-sensitive loss from a stage's margins, logit adjustments and weights."""
    adjusts, weighs = [part.build(injected) for part in stage.adjusts], [part.build(injected) for part in stage.weighs]
    criterion = stage.criterion.build(injected) if stage.criterion else None
    return Classification(adjusts=adjusts, weighs=weighs, criterion=criterion)


def objective_of(
    stage: Stage, network: Network, context: RunContext, injected: Context, teachers: Mapping[str, Frozen]
) -> Objective:
    """Builds the loss of a stage: the class-sensitive loss, unless a term replaces it, and the stage's further terms."""
    terms = {name: part.build(injected) for name, (_, part) in stage.terms.items()}
    weights = {name: weight for name, (weight, _) in stage.terms.items()}
    if "classification" not in terms:
        terms, weights = {"classification": injected["classify"], **terms}, {"classification": 1.0, **weights}
    augments, crops = dict[str, list[Augment]](), dict[str, Crop | Frames]()
    for name in stage.streams:
        store = context.store(stage.split_of(name))
        crop, augments[name] = cut_while_decoding(augments_of(stage, name, injected), store)
        crops |= {name: crop} if crop else {}
    mixers = {name: part.build(injected) for name, part in stage.mixers.items()}
    fuse = "image_kernel" in context.settings.runtime.levers
    part = rows_of_a_part(context.settings, context.ranks)
    inside = {name: part.build(injected) for name, part in stage.feature_mixers.items()}
    return Objective(
        network,
        context.prepare,
        augments,
        mixers,
        terms,
        weights,
        context.precision,
        crops=crops,
        ranks=context.ranks,
        fuse=fuse,
        part=part,
        feature_mixers=inside,
        teachers=teachers,
    )


def augments_of(stage: Stage, stream: str, injected: Context) -> list[Augment]:
    """Builds the augmentations of a stream, or the main stream's where the stream has none of its own."""
    own = stage.streams[stream].augments
    nodes = stage.streams[MAIN].augments if own is None else own
    return [part.build(injected) for part in (nodes or {}).values()]


def own_augments(stage: Stage, injected: Context) -> list[Augment]:
    """Builds the augmentations of the data set, without the augmentations of options."""
    nodes = (stage.streams[MAIN].augments or {}).values()
    return [part.build(injected) for part in nodes if part.path.startswith("dataset.augments.")]
