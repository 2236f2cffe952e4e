"""The errors that Tunelet raises on purpose. Not here: logging, or anything that prints.

A `Problem` says what was found, where, what was expected and what to do next. An `InputError` carries all the
problems of one input at once, because nobody wants to mend a file one message at a time.

Example:
    >>> str(Problem("unknown label 'jow'", file="train.jsonl", line=7, field="label", hint="did you mean 'joy'?"))
    "train.jsonl:7: label: unknown label 'jow'. Hint: did you mean 'joy'?"
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

#: Exit statuses of the command line.
FAILED, WRONG_INPUT, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in an input, with its place.

    Attributes:
        message: what was found and what was expected.
        file: path or name of the input.
        line: line in it, from 1.
        field: dotted key of a recipe, or the field of a record.
        hint: what to do next.
    """

    message: str
    file: str | Path | None = None
    line: int | None = None
    field: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        place = "" if self.file is None else str(self.file)
        if self.line is not None:
            place = f"{place}:{self.line}" if place else f"line {self.line}"
        parts = [part for part in (place, self.field, self.message) if part]
        text = ": ".join(parts)
        if self.hint:
            text = text.rstrip(".") + f". Hint: {self.hint}"
        return text


class TuneletError(Exception):
    """Base of every error that Tunelet raises on purpose."""

    exit_status = FAILED


class InputError(TuneletError):
    """What the user gave cannot be used; nothing was lost and no work was begun.

    Args:
        problems: a sentence, one `Problem`, or several.
        shown: how many problems the message lists; the rest are counted.
    """

    exit_status = WRONG_INPUT

    def __init__(self, problems: str | Problem | Iterable[Problem], *, shown: int = 20) -> None:
        if isinstance(problems, str):
            problems = Problem(problems)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__(_listing(self.problems, shown))

    def with_file(self, file: str | Path) -> InputError:
        """The same error with `file` as the place of every problem that names none."""
        return type(self)([p if p.file is not None else replace(p, file=file) for p in self.problems])


class RecipeError(InputError):
    """A recipe, or an override of one, is wrong."""


class DataError(InputError):
    """A data file, or the place where data should be, is wrong."""


class AdapterError(InputError):
    """An adapter folder cannot be used with what it is asked to be used with."""


class BaseModelError(InputError):
    """A base model cannot be found, or is not what it should be."""


class MissingExtraError(InputError):
    """A feature needs packages that an extra of Tunelet installs.

    Args:
        extra: name of the extra, as in ``pip install 'tunelet[extra]'``.
        purpose: what needs it, as the start of a sentence.
    """

    def __init__(self, extra: str | Problem | Iterable[Problem], purpose: str = "this", *, shown: int = 20) -> None:
        if isinstance(extra, str):
            extra = Problem(f"{purpose} needs packages that are not installed", hint=f"pip install 'tunelet[{extra}]'")
        super().__init__(extra, shown=shown)


class TrainingError(TuneletError):
    """Training cannot go on."""


class NonFiniteLossError(TrainingError):
    """The loss or a gradient is NaN or infinite; the message names the examples of the batch."""


class ResumeError(TuneletError):
    """A saved state cannot be continued: a part is missing, or it belongs to another run."""


class DamagedFileError(TuneletError):
    """A file does not hold what its manifest says; both sides are named."""


class RunFolderBusyError(TuneletError):
    """Another process works in the same run folder."""


def _listing(problems: Sequence[Problem], shown: int) -> str:
    lines = [str(problem) for problem in problems[:shown]]
    if len(problems) > shown:
        lines.append(f"... and {len(problems) - shown} more")
    return "\n".join(lines)
