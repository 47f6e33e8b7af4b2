"""Commands of documents: what a block holds, how each runs, and which faults are found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.documents import Fence, Page
from tests.support.readers import environment
from tests.support.sessions import Session, commands, contains, is_slow, needs_shell, shortened, split_comment

Faults = Callable[[str], list[str]]


@pytest.fixture
def faults(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Faults:
    """faults("# Title ..."): of a page with that text, given in an empty folder; its working folder is `work`."""
    (tmp_path / "work").mkdir()
    (tmp_path / "home").mkdir()

    def found(text: str) -> list[str]:
        (tmp_path / "page.md").write_text(text)
        return Session(tmp_path / "work", environment(tmp_path), capfd).faults(Page(tmp_path / "page.md", tmp_path))

    return found


def block(language: str, *lines: str) -> str:
    return "# Title\n\n```" + "\n".join([language, *lines]) + "\n```\n"


def test_a_block_of_sh_is_a_command_a_line() -> None:
    content = "ltrun a=1  # why\n\n# only words\nltrun \\\n  b=2 \\\n  'c=# 3'\nls\n"
    found = commands(Fence(10, "sh", None, content))
    assert [(one.line, one.text, one.comment) for one in found] == [
        (10, "ltrun a=1", "why"),
        (13, "ltrun b=2 'c=# 3'", ""),
        (16, "ls", ""),
    ]


def test_a_block_of_console_is_commands_and_what_they_print() -> None:
    found = commands(Fence(1, "console", None, "$ ls  # all\na\n...\n$ ltrun \\\n> --help\n"))
    assert [(one.text, one.shown) for one in found] == [("ls", ("a", "...")), ("ltrun --help", ())]


@pytest.mark.parametrize("language", ["text", "yaml", "python", ""])
def test_other_blocks_hold_no_commands(language: str) -> None:
    assert not commands(Fence(1, language, None, "$ false\n"))


@pytest.mark.parametrize(
    ("line", "command"),
    [("a 'b # c' # d", "a 'b # c'"), ('a "b # c"', 'a "b # c"'), ("a b#c", "a b#c"), (r"a \# b # c", r"a \# b"), ("# a", "")],
)
def test_a_comment_begins_outside_of_words_and_quotes(line: str, command: str) -> None:
    assert split_comment(line)[0] == command


@pytest.mark.parametrize(
    ("text", "shell"),
    [
        ("ltrun method=erm plugins=[a] '--x=$HOME|'", False),
        ("ltrun 'posthoc=[a,b]' dataset.root=~/x \"my photos (1)\"", False),
        ("ltrun report > table", True),
        ("ltrun report | head", True),
        ("ltrun show outputs/*/erm", True),
        ('ltrun report "$HOME"', True),
        ("ltrun report ~/outputs", True),
        ("ltrun a && ltrun b", True),
    ],
)
def test_what_only_a_shell_reads_goes_to_bash(text: str, shell: bool) -> None:
    assert needs_shell(text) is shell


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("ltrun method=erm", "ltrun epochs=1 network=resnet8 method=erm"),
        ("A=1 ltrun dataset=cifar10_lt epochs=3 seed=1", "A=1 ltrun epochs=1 network=resnet8 dataset=cifar10_lt  seed=1"),
        ("python3 -m ltrun method=erm network=resnet32", "python3 -m ltrun epochs=1 method=erm network=resnet32"),
        ("ltrun method=erm dataset=digits_lt", "ltrun method=erm dataset=digits_lt"),
        (
            "ltrun -m method=erm,crt seed=0,1,2 dataset=digits_lt",
            "ltrun epochs=1 -m method=erm,crt seed=0,1,2 dataset=digits_lt",
        ),
        ("ltrun -m 'method=glob(*)' dataset=digits_lt", "ltrun epochs=1 -m 'method=glob(ldam*)' dataset=digits_lt"),
        ("ltrun method=ldam --cfg job --resolve", "ltrun method=ldam --cfg job --resolve"),
        ("ltrun data dataset=cifar100_lt", "ltrun data dataset=cifar100_lt"),
        ("ls a=1", "ls a=1"),
    ],
)
def test_long_trainings_are_shortened_and_nothing_else(text: str, short: str) -> None:
    assert shortened(text) == short


def test_what_trains_is_slow(tmp_path: Path) -> None:
    for lines, slow in ((["ltrun report", "ltrun method=erm  # needs a GPU"], False), (["ltrun margin=ldam"], True)):
        (tmp_path / "page.md").write_text(block("sh", *lines))
        assert is_slow(Page(tmp_path / "page.md", tmp_path)) is slow


def test_commands_that_work_are_no_faults(faults: Faults) -> None:
    shown = "digits_lt: 10 classes; images: 409 training, 500 test"
    session = block(
        "console", "$ ltrun data dataset=digits_lt", shown, "...", "images                       128        245    36"
    )
    assert not faults(
        session
        + block(
            "sh",
            "ltrun methods margin > margins && grep -q ldam margins",
            "make run",
            "pytest tests/unit",
            "python benchmarks/table.py benchmarks/results",
        )
    )


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("ltrun show nothing", "exit code 1"),
        ("ltrun show nothing | cat", "exit code 1"),
        ("cat absent", "exit code 1:\n  cat: absent"),
        ("ltrunn", "exit code 127"),
        ("ltrun show don't", "unexpected EOF"),
        ("ltrun methods  # refused: no", "is not refused"),
        ("make nothing", "No rule to make target"),
        ("python -m pytest tests/nothing", "no such files"),
        ("python benchmarks/reproduce.py --nothing 3", "unknown flags: ['--nothing']"),
        ("pip install ltrun", "# needs a network"),
        ("git clone URL ltrun && cd ltrun", "# needs a network"),
        ("ltrun -m hydra/launcher=submitit_slurm seed=0,1", "# needs a network"),
        ("python -c 'raise ValueError'  # refused", "a traceback"),
    ],
)
def test_a_command_that_fails_is_named_with_page_line_and_output(faults: Faults, line: str, fault: str) -> None:
    (found,) = faults(block("sh", "true", line))
    assert found.startswith(f"page.md:5: {split_comment(line)[0]}\n")
    assert fault in found


@pytest.mark.parametrize("mark", ["needs a GPU", "needs a network", "needs a cluster", "here; needs a network, a minute"])
def test_a_marked_command_is_not_run(faults: Faults, mark: str, tmp_path: Path) -> None:
    assert not faults(block("sh", f"touch made  # {mark}", f"curl -O URL  # {mark}"))
    assert not (tmp_path / "work" / "made").exists()


@pytest.mark.parametrize("comment", ["", "fast", "needs time", "a GPU"])
def test_other_comments_mark_nothing(faults: Faults, comment: str) -> None:
    assert faults(block("sh", f"false  # {comment}"))


def test_a_refusal_that_is_shown_may_fail_and_must_be_said(faults: Faults) -> None:
    command = "$ ltrun representation=paco augmentation=cmo dataset=digits_lt"
    said = "ltrun: augmentation=cmo mixes labels, which representation=paco cannot use; drop one of them"
    assert not faults(block("console", command, said))
    assert "does not print" in faults(block("console", command, said + "!"))[0]


def test_a_wrong_line_of_output_is_found_with_what_is_printed(faults: Faults) -> None:
    (found,) = faults(block("console", "$ printf 'a\\nb\\nc\\n'", "a", "c"))
    assert found == "page.md:4: printf 'a\\nb\\nc\\n'\n  does not print\n  | a\n  | c\n  but\n  a\n  b\n  c"


def test_lines_are_skipped_only_where_the_page_says_so(faults: Faults) -> None:
    assert not faults(block("console", "$ printf 'a\\nb\\nc\\n'", "a", "...", "c"))
    assert not contains("a\nb\nc", ["a", "c"])


def test_a_page_is_one_shell(faults: Faults, tmp_path: Path) -> None:
    lines = [
        "export LTRUN_OUTPUTS=elsewhere",
        "mkdir new",
        "cd new",
        "ltrun method=erm --cfg job --resolve > said",
        "cd ..",
        "grep -q '^outputs: elsewhere' new/said",
    ]
    assert not faults(block("sh", *lines, "echo x >> ~/.bashrc"))
    assert (tmp_path / "home" / ".bashrc").exists(), "the reader's home, not the tester's"


def test_a_block_with_the_name_of_a_file_is_that_file(faults: Faults, tmp_path: Path) -> None:
    text = "# Title\n\n```yaml options/margin/tiny.yaml\n# Tiny.\nadjust:\n  _target_: ltrun.margin.LDAM\n```\n"
    assert not faults(text + block("sh", "ltrun show --config-dir options tiny", "test -f options/margin/tiny.yaml"))
    (found,) = faults("# Title\n\n```yaml conf/margin/ldam.yaml\nadjust: {}\n```\n")
    assert found == "page.md:4: this is not what conf/margin/ldam.yaml holds"
