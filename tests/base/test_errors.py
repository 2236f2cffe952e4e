"""Problems read well, an error carries all of them, and exit statuses are those of the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelet.base import errors
from tunelet.base.errors import (
    AdapterError,
    BaseModelError,
    DamagedFileError,
    DataError,
    InputError,
    MissingExtraError,
    NonFiniteLossError,
    Problem,
    RecipeError,
    ResumeError,
    RunFolderBusyError,
    TrainingError,
    TuneletError,
)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("wrong"), "wrong"),
        (Problem("wrong", file="a.yaml"), "a.yaml: wrong"),
        (Problem("wrong", file="a.yaml", line=3), "a.yaml:3: wrong"),
        (Problem("wrong", line=3), "line 3: wrong"),
        (Problem("wrong", field="x.y"), "x.y: wrong"),
        (Problem("wrong", "a.yaml", 3, "x.y", "mend it"), "a.yaml:3: x.y: wrong. Hint: mend it"),
        (Problem("wrong.", hint="mend it"), "wrong. Hint: mend it"),
    ],
)
def test_a_problem_is_one_line_with_its_place(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_an_input_error_takes_a_text_a_problem_or_several() -> None:
    one, two = Problem("one"), Problem("two", file="b")
    assert InputError("one").problems == (one,)
    assert InputError(one).problems == (one,)
    assert InputError(iter([one, two])).problems == (one, two)
    assert str(InputError([one, two])) == "one\nb: two"


@given(st.integers(0, 60), st.integers(1, 30))
def test_many_problems_are_counted_after_the_first(count: int, shown: int) -> None:
    error = InputError([Problem(f"p{i}") for i in range(count)], shown=shown)
    lines = str(error).splitlines()
    assert len(error.problems) == count
    assert lines[:shown] == [f"p{i}" for i in range(min(count, shown))]
    assert lines[shown:] == ([f"... and {count - shown} more"] if count > shown else [])


@pytest.mark.parametrize("kind", [InputError, RecipeError, DataError, AdapterError, BaseModelError, MissingExtraError])
def test_with_file_fills_in_what_has_no_file_and_keeps_the_kind(kind: type[InputError]) -> None:
    error = kind([Problem("one"), Problem("two", file="b", line=2)]).with_file("a")
    assert type(error) is kind
    assert str(error) == "a: one\nb:2: two"


def test_a_missing_extra_says_what_to_install() -> None:
    message = str(MissingExtraError("hub", "reading from the hub"))
    assert message == "reading from the hub needs packages that are not installed. Hint: pip install 'tunelet[hub]'"


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        ([InputError, RecipeError, DataError, AdapterError, BaseModelError, MissingExtraError], 2),
        ([TuneletError, TrainingError, NonFiniteLossError, ResumeError, DamagedFileError, RunFolderBusyError], 1),
    ],
)
def test_exit_statuses(kinds: list[type[TuneletError]], status: int) -> None:
    assert {kind.exit_status for kind in kinds} == {status}


def test_every_error_has_one_base() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) >= 12
    assert all(issubclass(kind, TuneletError) for kind in kinds)
