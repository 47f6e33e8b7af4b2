"""`ltrun methods --markdown`: the page, tables of groups, records, a user's options, and refusals of bad input."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ltrun.commands.methods import main
from ltrun.config.catalogue import options
from ltrun.config.compose import compose_job
from ltrun.config.presets import composing
from ltrun.results.record import RunRecord
from tests.support.cases import METHODS
from tests.support.files import write_files
from tests.support.recorded import record
from tests.support.tree import ROOT

RECORDS = str(ROOT / "benchmarks" / "results" / "reproduction.json")


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(argv) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(argv) == 1
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("ltrun: "), err
    return err


def rows(text: str) -> dict[str, list[str]]:
    """Returns the cells of each row of all tables, by the name of the preset or option; without tables of published numbers."""
    lines = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")]
    lines = [cells for cells in lines if not re.search(r"`method=\w+`$", cells[0])]
    named = {found[1]: cells for cells in lines if (found := re.search(r"`([^`]+)`$", cells[0]))}
    assert len(named) == sum(bool(re.search(r"`([^`]+)`$", cells[0])) for cells in lines), "a name has two rows"
    return named


def trained(*words: str, percent: float, more: tuple[Path, ...] = ()) -> RunRecord:
    with composing(more):
        job = compose_job(words)
    made = record(job.method, job.seed, dataset=job.dataset, changes=dict(job.changes), predictors={job.headline: []})
    made.predictors[job.headline]["splits"]["test"] |= {"accuracy": percent / 100, "error": 1 - percent / 100}
    return replace(made, config=job.config, fingerprint=job.fingerprint, headline=job.headline, choices=job.choices)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's folder with a preset, the option that the preset chooses, and an option that no preset chooses."""
    files = {
        "method/mine.yaml": "# @package _global_\n# name: A|B\n# Is *better* than <b>.\n# Me, 2025, arXiv 2501.00001\n"
        "# expected: 41.5 (mine); 41 to 42\n# checked: implemented, agrees with *nothing*\n"
        "defaults:\n  - override /margin: mine\n",
        "margin/mine.yaml": "# Widens margins.\nadjust: {}\n",
        "margin/spare.yaml": "# Widens them | more.\nadjust: {}\n",
    }
    return write_files(tmp_path / "own", files)


def test_the_page_has_a_row_for_every_preset_with_the_words_of_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--markdown")
    assert text.startswith("# Methods\n\nWhich methods are there") and text.endswith("\n") and "$" not in text
    found = rows(text)
    assert found.keys() >= set(METHODS)
    for preset in options("method"):
        name, what, checked, published = found[preset.name]
        assert name == f"{preset.title}<br>`{preset.name}`" and what.startswith(f"{preset.summary}<br>")
        assert re.sub(r"\[(.*?)\]\(.*?\)", r"\1", what).endswith(preset.citation)
        assert checked.replace("`", "") == preset.checked
        number, _, band = published.partition("<br>band: ")
        assert f"{number}; {band}" == preset.expected.replace("<", "&lt;") if band else number.replace("&lt;", "<")
        assert bool(band) == bool(preset.band)
    assert found["ldam_drw"][3] == "42.0 (paper), 42.5 (Bag of Tricks, best epoch on test)<br>band: 41 to 43"
    assert found["ldam_drw"][2] == "matches `ldam`, `drw_and_lr_schedules`; shared parts match `resnet32`"
    assert found["logit_adjustment=deferred_cdt"][1].endswith("<br>published: 42.2 (Bag of Tricks, best epoch on test)")
    assert found["posthoc=uno_ic_flattened"] and "margin=ldam" not in found, "ldam has a preset"


def test_records_fill_a_column_with_runs_of_the_unchanged_preset(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for seed, percent in enumerate((41, 42, 43)):
        trained("method=ldam_drw", f"seed={seed}", percent=percent).save(tmp_path / f"seed{seed}")
    trained("margin=ldam", "reweighting=drw", "classifier=cosine", "seed=3", percent=44).save(tmp_path / "composed")
    trained("method=erm", "epochs=20", percent=24).save(tmp_path / "short")
    trained("method=crt", "dataset=cifar10_lt", percent=70).save(tmp_path / "elsewhere")
    found = rows(printed(capsys, "--markdown", "--records", str(tmp_path)))
    assert found["ldam_drw"][4] == "42.0 ± 1.0 (n=3)"
    assert found["erm"][4] == found["crt"][4] == "–"
    both = rows(printed(capsys, "--markdown", "--records", str(tmp_path / "seed0" / "result.json"), "--records", RECORDS))
    assert both["ldam_drw"][4] == "41.0 (n=1)", "the earliest run of a seed counts"
    assert both["erm"][4] == "38.3 (n=1)"


def test_a_run_fills_the_row_of_a_preset_of_another_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A renamed preset or option has the runs of its old name, and a run of a post-hoc method the row of plain training."""
    plain = trained("method=tau_norm", percent=38)
    plain = replace(plain, predictors={**plain.predictors, "plain": plain.predictors["tau_norm"]})
    old = trained("method=ldam_drw", percent=42)
    for run, folder in ((plain, "plain"), (replace(old, method="old", choices={**old.choices, "margin": "old"}), "old")):
        run.save(tmp_path / folder)
    found = rows(printed(capsys, "--markdown", "--records", str(tmp_path / "plain"), "--records", str(tmp_path / "old")))
    assert found["erm"][4] == found["tau_norm"][4] == "38.0 (n=1)" and found["ldam_drw"][4] == "42.0 (n=1)"
    assert found["focal"][4] == "–"


def test_named_groups_are_printed_without_the_rest_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--markdown", "margin", "method")
    assert text.startswith("## margin\n\n| Option | What it does | Checked |") and "\n\n## method\n\n| Preset |" in text
    assert rows(text.partition("## method")[0])["none"][0] == "`none`" and "Known gaps" not in text
    assert "did you mean 'margin'" in refused(capsys, "--markdown", "margn")


def test_a_users_options_are_on_the_page_and_break_no_table(
    own: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = printed(capsys, "--markdown", "--config-dir", str(own))
    assert "### Presets without a family\n\n| Preset |" in text
    found = rows(text)
    assert found["mine"] == [
        r"A\|B<br>`mine`",
        r"Is \*better\* than &lt;b&gt;.<br>Me, 2025, [arXiv 2501.00001](https://arxiv.org/abs/2501.00001)",
        r"implemented, agrees with \*nothing\*",
        "41.5 (mine)<br>band: 41 to 42",
    ]
    assert found["margin=spare"][1] == r"Widens them \| more." and "margin=mine" not in found
    trained("method=mine", "dataset=cifar100_lt", percent=41.5, more=(own,)).save(tmp_path / "run")
    capsys.readouterr()
    shown = printed(capsys, "--markdown", "--config-dir", str(own), "--records", str(tmp_path / "run"))
    assert shown.startswith("# Methods") and rows(shown)["mine"][4] == "41.5 (n=1)"
    (own / "method" / "mine.yaml").write_text("# @package _global_\n# Mine.\ndefaults:\n  - override /margin: missing\n")
    assert main(["--markdown", "--config-dir", str(own), "--records", str(tmp_path / "run")]) == 1
    out, err = capsys.readouterr()
    assert out == "" and re.search(r"^ltrun: method=mine does not compose: .*'margin/missing'", err, re.MULTILINE)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ("[]", "is no reproduction.json"),
        ('{"runs": []}', "has no finished run"),
        ('{"runs": [{"format": 1}]}', "is no reproduction.json"),
        ("[" * 100_000, "is no reproduction.json"),
    ],
)
def test_a_bad_file_of_records_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "kept.json"
    if content is not None:
        file.write_text(content)
    sentence = refused(capsys, "--markdown", "--records", str(file))
    assert str(file) in sentence and said in sentence


def test_a_folder_with_a_damaged_run_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "has no finished run" in refused(capsys, "--markdown", "--records", str(tmp_path))
    trained("method=erm", percent=38).save(tmp_path / "erm" / "01234567" / "seed0")
    (tmp_path / "erm" / "01234567" / "seed1").mkdir()
    (tmp_path / "erm" / "01234567" / "seed1" / "result.json").write_text("{")
    assert "seed1/result.json is damaged" in refused(capsys, "--markdown", "--records", str(tmp_path))


def test_runs_of_other_data_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for seed, pixels in enumerate("de"):
        split = {"images": 5, "labels": 16 * "a", "files": 16 * "b", "sizes": None, "pixels": 16 * pixels}
        data = {"digest": 16 * pixels, "classes": 16 * "c", "splits": {"train": split, "test": split}}
        replace(trained("method=erm", f"seed={seed}", percent=38), data=data).save(tmp_path / f"seed{seed}")
    assert "was trained on other data than the runs before" in refused(capsys, "--markdown", "--records", str(tmp_path))


def test_records_without_markdown_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "add --markdown" in refused(capsys, "--records", RECORDS)


def test_the_page_needs_no_torch_and_without_records_no_hydra() -> None:
    for argv, heavy in ([], {"torch", "hydra", "omegaconf", "numpy", "pandas"}), (["--records", RECORDS], {"torch", "pandas"}):
        code = (
            f"import sys, ltrun.commands.methods as c; c.main({['--markdown', *argv]!r}); print(*sys.modules, file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert done.stdout.startswith("# Methods") and not heavy & set(done.stderr.split())
