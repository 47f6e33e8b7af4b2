"""The time of a sweep: its spellings, the keys of former records, and addresses that it leaves alone."""

from __future__ import annotations

import pytest

from ltrun.config.compose import compose_job, hydra_ready
from ltrun.config.settings import Settings, Sweep
from ltrun.config.words import for_hydra
from ltrun.errors import ConfigError
from ltrun.results.renamed import with_todays_names


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("8h", 28800), ("1d", 86400), ("1h30m", 5400)])
def test_a_budget_is_a_time(text: str, seconds: int) -> None:
    assert Sweep([], text, False).seconds == seconds and Sweep([], None, False).seconds is None


@pytest.mark.parametrize("text", ["", "8", "h", "0s", "-1h", "8 hours", "1m1h", 90.0])
def test_a_budget_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"sweep\.budget: expected a time, such as 90s, 30m, 8h, 1d or 1h30m, got "):
        _ = Sweep([], text, False).seconds


def test_a_budget_is_no_part_of_an_address_and_of_no_commands_of_jobs() -> None:
    with hydra_ready():
        plain, timed = compose_job(["dataset=digits_lt"]), compose_job(["dataset=digits_lt", "sweep.budget=8h"])
        alone = compose_job(["dataset=digits_lt", "sweep.commands=[]"])
        with pytest.raises(ConfigError, match=r"sweep\.budget: expected a time"):
            compose_job(["sweep.budget=soon"])
    assert plain.folder == timed.folder == alone.folder and plain.fingerprint == "b7dac45b"
    assert timed.command == ["dataset=digits_lt"] and timed.changes == {}
    assert timed.settings.sweep.seconds == 28800


def test_records_and_commands_of_the_former_list_are_understood() -> None:
    with hydra_ready():
        config = compose_job([]).config
    old = {"config": {**config, "sweep": []}, "changes": {}, "command": ["experiment=cmo_table", "sweep=[]"]}
    new = with_todays_names(old)
    assert new["command"] == ["experiment=cmo_table", "sweep.commands=[]"]
    assert Settings.of(new["config"]).sweep == Sweep([], None, False)
    before = with_todays_names({"config": {**config, "sweep": {"commands": ["seed=0,1"], "budget": "8h"}}})
    assert Settings.of(before["config"]).sweep == Sweep(["seed=0,1"], "8h", False), (
        "of a job that waits since an earlier version"
    )
    assert for_hydra(["sweep=[]", "seed=1"]) == ["sweep.commands=[]", "seed=1"]
