"""Checks of documents: dead links and anchors, missing paths, unreadable blocks, unreachable pages, opening questions."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.documents import Page, block_faults, braces, link_faults, of_git, path_faults, unreached
from tests.support.files import write_files

Made = Callable[..., Page]


@pytest.fixture
def page(tmp_path: Path) -> Made:
    """page("text") writes docs/page.md into a small repository with docs/other.md, ltrun/cli.py and a margin option."""
    files = {
        "docs/other.md": "# Other\n\n## A `part`, its name\n\n## Twice\n\n## Twice\n",
        "ltrun/cli.py": "",
        "conf/margin/none.yaml": "",
    }
    write_files(tmp_path, files)

    def made(text: str, name: str = "docs/page.md") -> Page:
        (tmp_path / name).write_text(text)
        return Page(tmp_path / name, tmp_path)

    return made


@pytest.mark.parametrize(
    "target",
    [
        "other.md",
        "other.md#a-part-its-name",
        "other.md#twice-1",
        "#title",
        "../ltrun/cli.py",
        "../ltrun/",
        "https://arxiv.org",
        "mailto:a@b.c",
    ],
)
def test_a_working_link_is_no_fault(page: Made, target: str) -> None:
    assert not link_faults(page(f"# Title\n\n[text]({target})\n"))


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("another.md", "leads to no file"),
        ("Other.md", "leads to no file"),
        ("other.md#a-part", "leads to no heading"),
        ("other.md#twice-2", "leads to no heading"),
        ("#other", "leads to no heading"),
        ("../ltrun/cli.py#L3", "leads to no heading"),
        ("../../beside.md", "out of the repository"),
        ("/docs/other.md", "out of the repository"),
    ],
)
@pytest.mark.parametrize(
    "form", ["[text]({})", "| a |\n| - |\n| [`b`]({}) |", "* ![picture]({})", '<img src="{}">', "[text][1]\n\n[1]: {}"]
)
def test_a_dead_link_is_named_with_its_line(page: Made, form: str, target: str, fault: str) -> None:
    (found,) = link_faults(page("# Title\n\n" + form.format(target) + "\n"))
    assert found.startswith("docs/page.md:") and f"{target} leads" in found and fault in found


def test_a_fault_names_the_line_of_its_block(page: Made) -> None:
    assert link_faults(page("---\nname: x\n---\n\n# Title\n\n[text](no.md)\n"))[0].startswith("docs/page.md:7: ")


def test_a_link_within_code_is_not_checked(page: Made) -> None:
    assert not link_faults(page("# Title\n\n`[text](no.md)`\n\n```text\n[text](no.md)\n```\n"))


def test_a_path_of_one_machine_is_found_in_a_code_block(page: Made) -> None:
    (found,) = link_faults(page("# Title\n\n```sh\nls /home/me/data ~/home/x /tmp/site\n```\n"))
    assert found == "docs/page.md:4: /home/me/data is a path of one machine"


@pytest.mark.parametrize(
    "span", ["ltrun/cli.py", "python ltrun/cli.py", "conf/margin/NAME.yaml", "conf/<group>/none.yaml", "ltrun/", "a/ltrun/b.py"]
)
def test_an_existing_path_of_the_tree_is_no_fault(page: Made, span: str) -> None:
    assert not path_faults(page(f"# Title\n\nSee `{span}`.\n"))


@pytest.mark.parametrize(
    "span", ["ltrun/gone.py", "conf/margin/{none,gone}.yaml", "python benchmarks/step.py", "conf/margin/x*.yaml"]
)
def test_a_missing_path_of_the_tree_is_found(page: Made, span: str) -> None:
    (found,) = path_faults(page(f"# Title\n\n* See `{span}`.\n"))
    assert "is not in the tree" in found


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        ("```\nltrun\n```", "no language"),
        ("    ltrun\n", "no language"),
        ("```bash\nltrun\n```", "`bash`"),
        ("```yaml\na: [\n```", "yaml that cannot be read"),
        ("```json\n{a}\n```", "json that cannot be read"),
        ("```python\ndef f(:\n```", "python that cannot be read"),
        ("```console\noutput\n```", "does not begin with `$ `"),
    ],
)
def test_a_block_without_a_known_language_or_valid_syntax_is_found(page: Made, block: str, fault: str) -> None:
    (found,) = block_faults(page(f"# Title\n\n{block}\n"))
    assert fault in found


@pytest.mark.parametrize(
    "block",
    [
        "```sh\nltrun\n```",
        "```yaml\n# @package _global_\na: ${b}\n```",
        "```text\n{\n```",
        "* a\n\n  ```python\n  x = 1\n  ```",
    ],
)
def test_a_readable_block_is_no_fault(page: Made, block: str) -> None:
    assert not block_faults(page(f"# Title\n\n{block}\n"))


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("# T\n\nHow?\nSo.\n", True),
        ("# T\n\nSo.\n\nHow?\n", False),
        ("# T\n\n* How?\n", False),
        ("How?\n\n# T\n", False),
        ("# How?\n", False),
    ],
)
def test_only_a_question_in_the_first_paragraph_after_the_title_counts(page: Made, text: str, asks: bool) -> None:
    assert bool(page(text).question()) is asks


def test_a_page_that_no_chain_of_links_reaches_is_named(page: Made, tmp_path: Path) -> None:
    readme = page("# R\n\n[a](docs/a.md)\n", "README.md")
    a, lonely = page("# A\n\n[other](other.md#twice)\n", "docs/a.md"), page("# L\n\n[a](a.md)\n", "docs/lonely.md")
    (found,) = unreached([readme, a, lonely, Page(tmp_path / "docs" / "other.md", tmp_path)])
    assert found.startswith("docs/lonely.md: no link leads here")


def test_a_file_that_git_ignores_is_in_no_tree_of_a_reader(page: Made, tmp_path: Path) -> None:
    made = page("# T\n\n[built](../build/a.md) [new](new.md) `conf/local/x.yaml` `ltrun/cli.py`\n\n[folder](../ltrun/)\n")
    for name in ("build/a.md", "conf/local/x.yaml", "docs/new.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert not [*link_faults(made), *path_faults(made)], "without git every file counts"
    of_git.cache_clear()
    (tmp_path / ".gitignore").write_text("/build/\nconf/local/\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "ltrun" / "conf").symlink_to("../conf")
    assert not path_faults(page("# T\n\n`ltrun/conf/margin/none.yaml`\n", "docs/linked.md"))
    (link,) = link_faults(made)
    assert link == "docs/page.md:3: ../build/a.md leads to a file that git ignores, which only this machine has"
    assert path_faults(made) == ["docs/page.md:3: `conf/local/x.yaml` is not in the tree"]


def test_braces_expand_to_every_combination() -> None:
    assert braces("a/{b,c}.{d,e}") == ["a/b.d", "a/b.e", "a/c.d", "a/c.e"]
