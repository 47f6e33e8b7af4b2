"""What a sweep says at its end of the jobs that have no result."""

from __future__ import annotations

from collections.abc import Sequence

from ltrun.sweep.outcome import Outcome

WAITS = {"stopped": "stopped", "waiting": "not begun", "elsewhere": "not trained here"}  # state of a job -> heading of a list


def rest(outcomes: Sequence[Outcome], goes_on: str) -> list[str]:
    """Returns lines that list the failed jobs, each with its reason and the command to retry it, and the jobs that wait.

    goes_on: the command of the sweep, quoted for the shell.
    """
    failed = [outcome for outcome in outcomes if outcome.state in ("failed", "unfinished")]
    lines = [f"{len(failed)} failed:"] if failed else []
    for outcome in failed:
        lines.append(f"  {outcome.title}: {outcome.reason}")
        lines += [f"    to retry: {outcome.command}"] if outcome.command else []
    waits = [outcome for outcome in outcomes if outcome.state in WAITS]
    for state, words in WAITS.items():
        found = [outcome for outcome in waits if outcome.state == state]
        lines += [f"{len(found)} {words}:"] if found else []
        lines += [f"  {outcome.title}: {outcome.reason}" for outcome in found]
    return [*lines, "this command goes on:", f"  {goes_on}"] if waits else lines
