"""Every broken input gives one `DataError` that names its place. The cases are in `broken_data`."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.broken_data import CASES, Broken, good, rows
from tunelet.base.errors import DataError, Problem
from tunelet.data.settings import DataSettings
from tunelet.data.sources import load_dataset


def load(case: Broken, folder: Path) -> None:
    settings = DataSettings(**case.write(folder))
    environ = {} if case.environment is None else {"TUNELET_DATA": case.placed(case.environment, folder)}
    data_dir = None if case.data_dir is None else Path(case.placed(case.data_dir, folder))
    load_dataset(settings, data_dir, environ=environ)


def is_told(case: Broken, problem: Problem, folder: Path) -> bool:
    ending = None if case.file is None else case.placed(case.file, folder)
    place = problem.file is None if ending is None else str(problem.file or "").endswith(ending)
    in_words = all(part in str(problem) for part in case.says)
    return place and in_words and problem.line == case.line and (case.field is None or problem.field == case.field)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_error_names_the_place(case: Broken, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(case, tmp_path)
    told = [str(problem) for problem in caught.value.problems]
    assert any(is_told(case, problem, tmp_path) for problem in caught.value.problems), told
    assert caught.value.exit_status == 2
    assert "Traceback" not in str(caught.value)


def test_the_table_is_large_and_its_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 60


def test_nothing_is_wrong_before_something_is_broken(tmp_path: Path) -> None:
    load(Broken("good", ()), tmp_path)


def test_all_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    bad = rows({"text": "", "label": "jow"})
    case = Broken("many", (), {"train.jsonl": bad, "validation.jsonl": None, "test.jsonl": good("test") + bad})
    with pytest.raises(DataError) as caught:
        load(case, tmp_path)
    places = [(Path(str(p.file)).name, p.line, p.field) for p in caught.value.problems]
    assert places == [
        ("train.jsonl", 1, "text"),
        ("train.jsonl", 1, "label"),
        (tmp_path.name, None, None),
        ("test.jsonl", 13, "text"),
        ("test.jsonl", 13, "label"),
    ]


def test_of_many_problems_the_first_twenty_are_told_and_the_rest_counted(tmp_path: Path) -> None:
    bad = rows(*[{"text": "fine", "label": f"x{i}"} for i in range(1000)])
    case = Broken("many", (), {"train.jsonl": bad, "test.jsonl": bad})
    with pytest.raises(DataError) as caught:
        load(case, tmp_path)
    told = str(caught.value).splitlines()
    assert len(told) == 42
    assert "train.jsonl:20: label" in told[19]
    assert told[20].endswith("train.jsonl: and 980 more problems in this file")
    assert told[41].endswith("test.jsonl: and 980 more problems in this file")


def test_a_problem_that_recurs_is_told_once_with_its_lines(tmp_path: Path) -> None:
    case = Broken("many", ("data.text_field",), {"train.jsonl": rows({"body": "fine", "label": "joy"}) * 1000})
    with pytest.raises(DataError) as caught:
        load(case, tmp_path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.field) == (1, "text")
    assert "(also in lines 2, 3, 4, 5 and 995 more)" in problem.message
