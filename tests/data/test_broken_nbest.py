"""Every broken list gives one `DataError` that names its place. The cases are in `broken_nbest`."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.broken_nbest import CASES, FIRST, BrokenLists, hypothesis, jsonl, listed
from tunelet.base.errors import DataError, Problem
from tunelet.data.nbest_files import read_nbest


def is_told(case: BrokenLists, problem: Problem, path: Path) -> bool:
    place = str(problem.file or "").endswith(case.file or path.name)
    in_words = all(part in str(problem) for part in case.says)
    return place and in_words and problem.line == case.line and (case.field is None or problem.field == case.field)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_error_names_the_place(case: BrokenLists, tmp_path: Path) -> None:
    path = case.write(tmp_path)
    with pytest.raises(DataError) as caught:
        read_nbest(path, **case.options)
    told = [str(problem) for problem in caught.value.problems]
    assert any(is_told(case, problem, path) for problem in caught.value.problems), told
    assert caught.value.exit_status == 2


def test_the_table_is_large_and_its_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 90


def test_nothing_is_wrong_before_something_is_broken(tmp_path: Path) -> None:
    path = jsonl("good", listed(), ()).write(tmp_path)
    assert [one.id for one in read_nbest(path, need_references=True).lists] == ["a", "b"]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    rows = [hypothesis(score=None, text=3), listed(id="a", nbest=[]), {"nbest": 1, "id": "z", "ref": 0}]
    path = BrokenLists(
        "many", {"x.jsonl": FIRST + b"".join(jsonl("", r, ()).files["x.jsonl"][len(FIRST) :] for r in rows)}, ()
    )
    with pytest.raises(DataError) as caught:
        read_nbest(path.write(tmp_path))
    places = {(problem.line, problem.field) for problem in caught.value.problems}
    assert places == {
        (2, "nbest[1].score"),
        (2, "nbest[1].text"),
        (3, "nbest"),
        (3, "id"),
        (4, "ref"),
        (4, "nbest"),
    }
