"""Teachers: trained on demand as runs of their own, shared, resumed after a kill, refused where they do not fit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ltrun.results.address import MODEL, RESULT
from tests.end_to_end.test_resume import kill_when, outcome
from tests.support.commands import PROGRAM, SHORT, Run, refused

STUDENT = (
    "method=dive",
    "dataset=digits_lt",
    "epochs=4",
    "evaluation.every=2",
    "runtime.checkpoint_seconds=0",
    "runtime.pack=2",
)
TEACHER = "transfer.teachers.teacher.run"


def results(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob(RESULT))


def of(method: str, folder: Path) -> list[Path]:
    return [path for path in results(folder) if path.parts[-3] == method]


def last_loss(folder: Path) -> Any:
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["losses"]


def test_two_students_share_a_teacher_that_is_trained_once(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun("-m", *STUDENT, "transfer.terms.classification.part.temperature=1,4", "outputs=o")
    assert done.returncode == 0, done.stderr
    (teacher,) = of("balanced_softmax", tmp_path)
    assert len(of("dive", tmp_path)) == 2 and len(results(tmp_path)) == 3
    assert (
        "the teacher balanced_softmax [epochs=4, evaluation.every=2, schedule=dive] on digits_lt, seed 0 comes first, in o/"
        in done.stdout
    )
    written = (teacher / RESULT).stat().st_mtime_ns
    again = ltrun(*STUDENT, "transfer.terms.classification.part.temperature=3", "outputs=o")
    assert again.returncode == 0 and "comes first" not in again.stdout + again.stderr
    assert (teacher / RESULT).stat().st_mtime_ns == written and len(of("dive", tmp_path)) == 3


def test_another_seed_has_another_teacher(ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("-m", *STUDENT, "seed=0,1", "outputs=o").returncode == 0
    assert [folder.name for folder in of("balanced_softmax", tmp_path)] == ["seed0", "seed1"]


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [2, 6])  # of teacher and student together, four each
def test_a_run_killed_with_its_teacher_or_after_it_ends_bit_equal(epochs: int, ltrun: Run, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert ltrun(*STUDENT, f"outputs={whole}").returncode == 0
    kill_when([*PROGRAM, *STUDENT, f"outputs={broken}"], broken, epochs)
    assert len(results(broken)) == (epochs > 4)
    again = ltrun(*STUDENT, f"outputs={broken}")
    assert again.returncode == 0, again.stderr
    for method in ("balanced_softmax", "dive"):
        one, other = (outcome(folder / "digits_lt" / method) for folder in (whole, broken))
        assert one[1:] == other[1:]
        assert one[0].keys() == other[0].keys()
        assert all(torch.equal(tensor, other[0][name]) for name, tensor in one[0].items())


def test_the_student_learns_from_the_weights_of_its_teacher(ltrun: Run, tmp_path: Path) -> None:
    """The same student with another teacher has another loss; with a copy of its teacher, the same."""
    assert ltrun(*STUDENT, "outputs=o").returncode == 0
    (teacher,), (student,) = of("balanced_softmax", tmp_path), of("dive", tmp_path)
    assert ltrun(*STUDENT, f"{TEACHER}={teacher}", "outputs=copy").returncode == 0
    (copied,) = of("dive", tmp_path / "copy")
    assert last_loss(copied) == last_loss(student) and copied.parts[-2] != student.parts[-2]
    assert ltrun("method=erm", *SHORT[:1], "epochs=1", "outputs=o").returncode == 0
    (erm,) = of("erm", tmp_path)
    address = erm.relative_to(tmp_path / "o")
    moved = ltrun(*STUDENT, f"{TEACHER}={address}", "outputs=o")
    assert moved.returncode == 0, moved.stderr
    assert last_loss(next(folder for folder in of("dive", tmp_path / "o") if folder != student)) != last_loss(student)


def test_the_folder_of_a_teacher_is_no_part_of_an_address(ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("method=erm", *SHORT[:1], "epochs=1", "outputs=o").returncode == 0
    (folder,) = results(tmp_path)
    assert ltrun(*SHORT[:1], "method=dive", f"{TEACHER}={folder}", "epochs=1", "outputs=s").returncode == 0
    moved = folder.rename(tmp_path / "elsewhere")
    done = ltrun(*SHORT[:1], "method=dive", f"{TEACHER}={moved}", "epochs=1", "outputs=s")
    assert done.returncode == 0 and "done before" in done.stdout


@pytest.mark.parametrize("other", ["dataset.imbalance=10", "dataset.validation_per_class=1", "dataset.test_per_class=20"])
def test_a_teacher_of_other_images_is_refused(other: str, ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("method=erm", *SHORT[:1], "epochs=1", other, "outputs=o").returncode == 0
    (folder,) = results(tmp_path)
    said = refused(ltrun(*STUDENT, f"{TEACHER}={folder}", "outputs=s"))
    assert "transfer.teachers.teacher: the teacher in" in said and "other data" in said and not results(tmp_path / "s")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("[dataset=cifar10_lt]", "a teacher sees the data set of its student"),
        ("[method=erm,dataset.imbalance=3]", "a teacher sees the data set of its student"),
        ("[method=erm,outputs=x]", "a teacher lies beside its student"),
        ("[method=erm,plugins=[os]]", "name packages on the student's command line"),
        ("[method=ermm]", "ermm"),
        ("[]", "give words=[...] that train the teacher, run=FOLDER of a finished run, or previous=true"),
    ],
)
def test_words_that_no_teacher_can_have_are_refused_before_training(words: str, said: str, ltrun: Run, tmp_path: Path) -> None:
    done = ltrun(*STUDENT, f"transfer.teachers.teacher.words={words}", "outputs=o")
    assert said in refused(done) and not results(tmp_path)


@pytest.mark.parametrize("run", ["nowhere", "o", "o/digits_lt/erm"])
def test_a_folder_that_holds_no_run_or_several_is_refused(run: str, ltrun: Run, tmp_path: Path) -> None:
    if run != "nowhere":
        assert ltrun("-m", "method=erm", *SHORT[:1], "epochs=1", "seed=0,1", "outputs=o").returncode == 0
    assert f"{TEACHER}: " in refused(ltrun(*STUDENT, f"{TEACHER}={run}", "outputs=s"))


@pytest.mark.parametrize("file", [RESULT, MODEL])
def test_a_damaged_teacher_is_told_with_its_key_and_deleted_trains_again(file: str, ltrun: Run, tmp_path: Path) -> None:
    words = ("method=dive", "dataset=digits_lt", "epochs=1", "outputs=o")
    assert ltrun(*words).returncode == 0
    (teacher,), (student,) = of("balanced_softmax", tmp_path), of("dive", tmp_path)
    loss = last_loss(student)
    (teacher / file).write_bytes((teacher / file).read_bytes()[:100])
    said = refused(ltrun(*words, "force=true"))
    assert "transfer.teachers.teacher: " in said and "is damaged" in said and f"delete {teacher.relative_to(tmp_path)}" in said
    shutil.rmtree(teacher)
    again = ltrun(*words, "force=true")
    assert again.returncode == 0, again.stderr
    assert of("balanced_softmax", tmp_path) == [teacher] and last_loss(student) == loss


def test_a_record_with_a_teacher_trains_again(ltrun: Run, tmp_path: Path) -> None:
    assert ltrun(*STUDENT, "outputs=o").returncode == 0
    (student,) = of("dive", tmp_path)
    done = ltrun("rerun", str(student / RESULT), "outputs=again")
    assert done.returncode == 0, done.stderr
    (again,) = of("dive", tmp_path / "again")
    assert last_loss(again) == last_loss(student) and len(of("balanced_softmax", tmp_path / "again")) == 1
