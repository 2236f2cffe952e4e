"""Means and paired differences of an `understand` sweep, from cells made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from report.understandings import Model, a_result, a_run, scored, sweep, write
from tunelet.base.errors import InputError
from tunelet.evaluation.understanding import score_answers
from tunelet.report.result_schema import validate_as
from tunelet.report.understand_answers import Resampled
from tunelet.report.understand_numbers import SEEN, UNSEEN, Compared, Numbers
from tunelet.report.understand_schema import UnderstandResult
from tunelet.report.understand_view import View


def numbers(runs: list[dict[str, Any]], folder: Path, **changes: Any) -> Numbers:
    view = View.of(validate_as(UnderstandResult, a_result(runs, **changes)))
    return Numbers(view, Resampled(view, folder))


def bare(model: Model, source: str, seed: int, scores: dict[tuple[str, int], float]) -> dict[str, Any]:
    """A run whose cells have these values of macro-F1, and no answers."""
    run = a_run(model, source, seed)
    own = score_answers([("glad",)], [("glad",)], ("glad", "sad"), multi_label=False)
    run["cells"] = [
        {**scored(run, task, k, own), "macro_f1": value, "value": value} for (task, k), value in scores.items()
    ]
    return run


def pick(rows: list[Compared], what: str, where: str) -> Compared:
    return next(row for row in rows if (row.what, row.where) == (what, where))


def test_differences_are_paired_over_source_task_k_and_seed(tmp_path: Path) -> None:
    regular, random = Model("regular", 0), Model("random", 0)
    runs = [
        bare(regular, "mood", 1, {("mood", 0): 0.9, ("acts", 0): 0.2, ("acts", 1): 0.3}),
        bare(random, "mood", 1, {("mood", 0): 0.7, ("acts", 0): 0.3, ("acts", 1): 0.5, ("acts", 2): 0.99}),
        bare(regular, "acts", 1, {("mood", 0): 0.4}),
        bare(random, "acts", 1, {("mood", 0): 0.5}),
        bare(random, "acts", 2, {("mood", 0): 0.1}),  # no regular run of this seed: not paired
    ]
    found = numbers(runs, tmp_path)
    unseen = pick(found.compare("text"), "random-regular", UNSEEN)
    # acts after mood: (0.1 + 0.2) / 2, k 2 has no partner; mood after acts: 0.1
    assert unseen.found.value == pytest.approx((0.15 + 0.1) / 2)
    assert (unseen.found.tasks, unseen.found.sources, unseen.found.cells) == (2, 2, 2)
    assert unseen.found.resampled == ("tasks", "sources") and unseen.side == 0  # two cells prove nothing
    seen = pick(found.compare("text"), "random-regular", SEEN)
    assert seen.found.value == pytest.approx(-0.2) and seen.found.low is None
    split = {row.scope: row.found.value for row in found.split("text")}
    assert split == pytest.approx({"k = 0": 0.1, "k = 1": 0.2, "mood": 0.1, "acts": 0.15})


def test_controls_that_ran_once_are_compared_with_every_seed(tmp_path: Path) -> None:
    runs = [
        bare(Model("none", 0), "none", 1, {("acts", 0): 0.3, ("acts", 1): 0.5}),
        bare(Model("none", 0), "none", 2, {("acts", 0): 0.5, ("acts", 1): 0.7}),
        bare(Model("knn", 0), "none", 1, {("acts", 1): 0.4}),
        bare(Model("definition", 0), "none", 1, {("acts", 0): 0.5}),
    ]
    rows = numbers(runs, tmp_path).compare("text")
    assert pick(rows, "none-knn", "").found.value == pytest.approx(0.2)
    assert pick(rows, "none-definition", "").found.value == pytest.approx(-0.1)
    few = pick(rows, "few-zero", "")
    assert few.found.value == pytest.approx(0.2) and few.found.cells == 2
    assert all(row.p_holm is not None and row.p_holm >= row.found.p for row in rows)


def test_what_was_not_tuned_is_paired_by_seed_where_it_has_the_same(tmp_path: Path) -> None:
    runs = [
        bare(Model("none", 0), "none", 1, {("acts", 0): 0.3}),
        bare(Model("none", 0), "none", 2, {("acts", 0): 0.5}),
        bare(Model("random", 0), "mood", 1, {("acts", 0): 0.4}),
        bare(Model("random", 0), "mood", 2, {("acts", 0): 0.6}),
    ]
    found = pick(numbers(runs, tmp_path).compare("text"), "random-none", UNSEEN).found
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))  # 0.1 with either seed


def test_answers_on_disk_draw_the_test_examples_anew_and_pair_them(tmp_path: Path) -> None:
    models = (Model("regular", 0.5), Model("random", 0.6))
    runs = sweep(tmp_path, models=models, sources=("mood",), tasks=("acts",), seeds=(1,), ks=(0,), n=200)
    found = numbers(runs, tmp_path)
    paired = pick(found.compare("text"), "random-regular", UNSEEN).found
    assert paired.resampled == ("items",) and paired.low is not None and paired.high is not None
    alone = [found.mean(found.view.pick(way, "text")) for way in ("regular", "random")]
    widths = [one.high - one.low for one in alone if one is not None and one.high is not None and one.low is not None]
    assert paired.high - paired.low < (widths[0] ** 2 + widths[1] ** 2) ** 0.5  # the models agree on most examples


def test_answers_that_do_not_give_the_score_are_not_drawn(tmp_path: Path) -> None:
    runs = sweep(tmp_path, models=(Model("none", 0.5),), tasks=("acts",), seeds=(1,), ks=(0, 1), n=30)
    runs[0]["cells"][0]["value"] = runs[0]["cells"][0]["macro_f1"] = 0.123
    found = numbers(runs, tmp_path)
    assert [len(found.scores.of(one)) > 1 for one in found.view.main] == [False, True]
    assert found.scores.without == {"acts"} and found.scores.of(found.view.main[0])[0] == 0.123


@pytest.mark.parametrize(
    ("line", "told"),
    [("{", "not an answer"), ('{"id": "1", "labels": ["ask"]}', "answer: missing"),
     ('{"id": "1", "labels": ["ask"], "answer": ["shout"]}', "'shout' is no class"), ("", "holds no answer")],
)  # fmt: skip
def test_a_damaged_file_of_answers_is_named(tmp_path: Path, line: str, told: str) -> None:
    runs = sweep(tmp_path, models=(Model("none", 0.5),), tasks=("acts",), seeds=(1,), ks=(0,), n=5)
    file = tmp_path / runs[0]["folder"] / runs[0]["cells"][0]["answers_file"]
    file.write_text(line, encoding="utf-8")
    found = numbers(runs, tmp_path)
    with pytest.raises(InputError, match=told) as error:
        found.compare("text")
        found.mean(found.view.main)
    assert file.name in str(error.value)


def test_two_cells_of_one_question_are_refused(tmp_path: Path) -> None:
    run = bare(Model("none", 0), "none", 1, {("acts", 0): 0.3})
    run["cells"] *= 2
    with pytest.raises(InputError, match=r"two cells for acts, none after none, k 0, seed 1"):
        numbers([run], tmp_path)


def test_cells_of_the_result_serve_where_runs_hold_none(tmp_path: Path) -> None:
    run = bare(Model("none", 0), "none", 1, {("acts", 0): 0.3})
    folder = write(tmp_path, [run])
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    result["runs"][0]["cells"] = []
    view = View.of(validate_as(UnderstandResult, result))
    assert [(one.cell.task, one.cell.score, one.run) for one in view.main] == [("acts", 0.3, None)]
