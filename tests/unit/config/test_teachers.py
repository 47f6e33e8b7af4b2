"""Words of a teacher: a misspelt one is named with the teacher's key."""

from __future__ import annotations

import pytest

from ltrun.config.compose import compose_job, hydra_ready
from ltrun.config.explain import explained
from ltrun.config.teachers import TeacherWordsError
from ltrun.config.words import for_hydra


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("method=ermm", "method: there is no option 'ermm'; did you mean 'erm'?"),
        ("metod=erm", "there is no key or group 'metod'; did you mean 'method'?"),
    ],
)
def test_a_misspelt_word_of_a_teacher_is_named_with_its_key(word: str, said: str) -> None:
    words = for_hydra(["method=dive", "dataset=digits_lt", f"transfer.teachers.teacher.words=[{word}]"], ())
    with pytest.raises(TeacherWordsError) as raised, hydra_ready():
        compose_job(words)
    assert str(explained(raised.value, words)) == f"transfer.teachers.teacher.words: {said}"
