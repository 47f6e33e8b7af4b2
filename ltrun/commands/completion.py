"""`ltrun completion SHELL`: completion of commands, groups, options and keys. Needs no torch and no Hydra."""

from __future__ import annotations

import argparse
import itertools
import pkgutil
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ltrun.config import catalogue
from ltrun.config.option import root, setting
from ltrun.errors import LtrunError
from ltrun.metrics import STORED, TASKS

TRAINING = ("-m", "--config-dir", "--cfg", "--resolve", "--help", "--hydra-help", "--info", "--version")
FORMATS = ("--markdown", "--latex", "--csv", "--json", "--html", "--published", "--watch")  # flags of reports
METRICS = (*dict.fromkeys(metric.name for metrics in (*TASKS.values(), *STORED.values()) for metric in metrics), "cost")
SETTINGS = {"--cfg": ("job", "hydra", "all"), "--metric": METRICS}
BASH = r"""# ltrun: eval "$(ltrun completion bash)"
_ltrun() {
    local line="${COMP_LINE:0:COMP_POINT}" word="${COMP_WORDS[COMP_CWORD]}" begun candidate
    local IFS=$' \t\n'
    local -a words
    read -ra words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    begun="${words[-1]}"
    COMPREPLY=()
    while IFS= read -r candidate; do
        # bash splits words at = and :, and replaces only the part after the last one
        [[ "$word" != "$begun" ]] && candidate="${candidate#"${begun%"${begun##*[=:]}"}"}"
        COMPREPLY+=("$candidate")
    done < <(command ltrun completion words -- "${words[@]:1}" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *= || "${COMPREPLY[0]}" == *. ]] && compopt -o nospace
    [[ ${#COMPREPLY[@]} -eq 0 ]] && compopt -o default
    return 0
}
complete -F _ltrun ltrun
"""
ZSH = r"""#compdef ltrun
# ltrun: eval "$(ltrun completion zsh)", after compinit
_ltrun() {
    local -a found
    found=("${(@f)$(command ltrun completion words -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    found=(${found:#})
    if (( $#found )); then
        compadd -Q -S '' -- ${(M)found:#*[=.]}
        compadd -Q -- ${found:#*[=.]}
    else
        compset -P '*='
        _files
    fi
}
(( $+functions[compdef] )) && compdef _ltrun ltrun
"""
FISH = r"""# ltrun: ltrun completion fish | source
function __ltrun_words
    set -l before (commandline --tokenize --cut-at-cursor --current-process)
    command ltrun completion words -- $before[2..] (commandline --current-token --cut-at-cursor) 2>/dev/null
end
complete --command ltrun --arguments '(__ltrun_words)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def main(argv: Sequence[str]) -> int:
    """Prints the script of a shell; `words -- WORD ...`, which the scripts call, prints the completions of the last word."""
    if list(argv[:2]) == ["words", "--"]:
        print("".join(f"{word}\n" for word in candidates(argv[2:])), end="")
        return 0
    parser = argparse.ArgumentParser(
        "ltrun completion",
        description='Print the completion of a shell. In ~/.bashrc: eval "$(ltrun completion bash)"; in ~/.zshrc, after '
        'compinit: eval "$(ltrun completion zsh)"; in ~/.config/fish/config.fish: ltrun completion fish | source',
    )
    parser.add_argument("shell", choices=SCRIPTS)
    print(SCRIPTS[parser.parse_args(argv).shell], end="")
    return 0


def commands() -> list[str]:
    """Returns the subcommands, one per module."""
    return [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name != "train"]


def _flags(command: str) -> Iterator[str]:
    """Yields the flags of a command, read from its source: importing it may take seconds."""
    if not command:
        yield from TRAINING
        return
    source = Path(__file__).with_name(f"{command}.py").read_text(encoding="utf-8")
    yield from re.findall(r'"(--[a-z][a-z-]*)[" ]', source)
    yield from ("--help", *(FORMATS if command == "report" else ()))


def candidates(words: Sequence[str]) -> list[str]:
    """Returns the completions of the last of the words after `ltrun`; none for a path, which the shell itself completes."""
    *before, word = words or [""]
    command = before[0] if before and before[0] in commands() else ""
    try:
        found = sorted(set(_offered(command, before, word)))
    except LtrunError:  # a folder of options is missing, which a completion does not report
        return []
    return [text for text in found if text.startswith(word)]


def _offered(command: str, before: Sequence[str], word: str) -> Iterator[str]:
    if before and before[-1] in SETTINGS:
        yield from SETTINGS[before[-1]]
        return
    if word.startswith("-"):
        yield from _flags(command)
        return
    if not before:
        yield from commands()
    if command == "completion":
        yield from SCRIPTS
        return
    more = [Path(folder) for flag, folder in itertools.pairwise(before) if flag in ("--config-dir", "-cd")]
    names = catalogue.names(more)
    if command == "check" and len(before) > 1:
        yield from set().union(*names.values())
        yield from (f"{group}={name}" for group in names for name in names[group])
    if command == "compare":
        yield from names["dataset" if before[-1] == "--dataset" else "method"]
    if command in ("methods", "show"):
        yield from names
        yield from set().union(*names.values()) if command == "show" or word else ()
    if command in ("", "data"):
        yield from _overrides(names, before, word, more)
    if command == "data" and len(before) == 1:
        yield "export"


def _overrides(names: dict[str, set[str]], before: Sequence[str], word: str, more: Sequence[Path]) -> Iterator[str]:
    """Yields groups and keys, and after the = of a group, or a comma, its options."""
    group, equals, value = word.partition("=")
    if equals:
        begun = value[: max(value.rfind(","), value.rfind("[")) + 1]
        yield from (f"{group}={begun}{name}" for name in names.get(group, ()))
        return
    yield from (f"{name}=" for name, options in names.items() if options)
    known, defaults = root()
    keys = [key.path for key in known]
    chosen = dict(each.split("=", 1) for each in before if "=" in each)
    for key, option in {**defaults, **chosen}.items():
        if option in names.get(key, ()):
            keys += _keys(key, option, more)
    for key in keys:
        steps = key.split(".")
        typed = word.count(".") + 1
        yield f"{key}=" if len(steps) <= typed else f"{'.'.join(steps[:typed])}."


def _keys(group: str, name: str, more: Sequence[Path], package: str = "") -> Iterator[str]:
    """Yields the keys of an option and of the options that it chooses."""
    found = setting(group, name, more, package or None)
    yield from (key.path for key in found.keys if key.default != "{}")
    for choice in found.choices:
        yield from _keys(choice[0], choice[1], more, choice[2])
