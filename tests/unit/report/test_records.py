"""Records are read from a result.json, a folder of runs, or a file that keeps a record a line."""

import json
from pathlib import Path

import pytest

from ltrun.errors import DataError
from ltrun.report.records import records_at
from tests.support.recorded import record


def test_one_run_is_read_from_a_file_a_folder_and_a_file_of_records(tmp_path: Path) -> None:
    run = record(seed=3)
    folder = tmp_path / "cifar100_lt" / "erm" / run.fingerprint / "seed3"
    file = run.save(folder)
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps({"runs": [run.content()]}))
    for place in (file, folder, tmp_path, kept):
        found, problems = records_at(place)
        assert found == [run] and problems == []


def test_what_is_wrong_in_a_folder_is_told_and_a_file_that_is_wrong_is_refused(tmp_path: Path) -> None:
    record(seed=0).save(tmp_path / "good")
    damaged = tmp_path / "bad" / "result.json"
    damaged.parent.mkdir()
    damaged.write_text("{}")
    found, problems = records_at(tmp_path)
    assert len(found) == 1 and [problem.kind for problem in problems] == ["damaged"]
    with pytest.raises(DataError, match=r"bad/result\.json is damaged"):
        records_at(damaged)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        records_at(tmp_path / "missing")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", 99, r"cannot read \(run 2: its format is 99, .*\): update ltrun"),
        ("seed", -1, r"is no reproduction\.json \(run 2: seed is not a whole number from 0\): name one"),
    ],
)
def test_a_record_that_cannot_be_read_is_named_by_its_place_in_the_file(
    tmp_path: Path, key: str, value: int, said: str
) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps({"runs": [record().content(), record(seed=1).content() | {key: value}]}))
    with pytest.raises(DataError, match=rf"kept\.json .*{said}"):
        records_at(kept)
