"""The table of what composes with what follows from the refusals."""

from __future__ import annotations

from importlib import resources

import pytest

from ltrun.contracts.compositions import Assembled, fits, table
from ltrun.contracts.library import Choice
from ltrun.metrics import SINGLE_LABEL
from ltrun.report.methods_page import COMPOSITIONS
from tests.support.cases import LIBRARY, that_accept

WHOLE = Assembled(LIBRARY)


@pytest.mark.slow
def test_the_table_is_generated_from_the_refusals() -> None:
    written = resources.files("ltrun.report").joinpath(COMPOSITIONS).read_text()
    assert table(WHOLE) == written, "ltrun/report/compositions.md is out of date; write it anew: make pages"


MIXERS = {"cmo", "cutmix", "mamix", "mixup", "mixup_large", "remix", "rotation_mixup", "unimix"}
PHOTOMETRIC = {"autoaugment", "randaugment", "cutout", "cuda", "simclr", "trivialaugment", "augmix", "rotation"}


@pytest.mark.parametrize("ensemble", ["ace", "balpoe", "ncl", "reslt", "ride", "sade", "shike", "tlc"])
def test_ensembles_compose_with_augmentations_that_mix_and_with_re_balancing(ensemble: str) -> None:
    one = Choice(WHOLE, "ensemble", ensemble)
    for name in sorted(MIXERS | PHOTOMETRIC):
        assert fits(one, Choice(WHOLE, "augmentation", name)), name
    for slot in ("reweighting", "logit_adjustment", "resampling"):
        refused = {name for name in that_accept(SINGLE_LABEL, slot) if not fits(one, Choice(WHOLE, slot, name))}
        assert refused <= {"meta", "meta_weight_net"}, refused  # an update of their own


@pytest.mark.parametrize("ensemble", ["mdcs", "ncl_plus"])
def test_ensembles_of_two_views_refuse_what_would_mix_one_of_them(ensemble: str) -> None:
    one = Choice(WHOLE, "ensemble", ensemble)
    assert all(fits(one, Choice(WHOLE, "augmentation", name)) for name in PHOTOMETRIC)
    assert not any(fits(one, Choice(WHOLE, "augmentation", name)) for name in MIXERS)
