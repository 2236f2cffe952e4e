"""What the report of `understand` says: the paper's table with ours, what held, curves, controls, the paper, the cost.

Reads `result.json`, `audit.json` and the answers of the runs. The parts stand in modules of their own:
`understand_view` (cells), `understand_answers` (resampled scores), `understand_numbers` (means, differences),
`understand_tables`, `understand_differences`, `understand_controls`, `understand_figures` and `understand_plots`,
`understand_words` (sentences), `understand_published` (the paper's numbers).

Example:
    >>> make(Path("out/understand")).headline.measure       # doctest: +SKIP
    'macro-F1 on tasks not tuned on, random minus regular labels'
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tunelet.base.errors import DamagedFileError, InputError
from tunelet.base.files import read_json
from tunelet.report import understand_controls as controls
from tunelet.report import understand_figures as figures
from tunelet.report import understand_published as published
from tunelet.report import understand_tables as tables
from tunelet.report.content import Headline, Report, Section
from tunelet.report.csvs import to_text
from tunelet.report.formats import binary, compact, duration, percent
from tunelet.report.result_schema import validate_as
from tunelet.report.tables import Column, Row, Table
from tunelet.report.understand_answers import Resampled
from tunelet.report.understand_differences import CAVEAT, HOW, comparison_table, difference_records, ends
from tunelet.report.understand_numbers import UNSEEN, Compared, Numbers, lead
from tunelet.report.understand_schema import UnderstandResult, UnderstandRun
from tunelet.report.understand_view import View
from tunelet.report.understand_words import PAPER, statements


def make(folder: Path) -> Report:
    """Gather everything that the files of a sweep allow to be said.

    Raises:
        InputError: `result.json` or a run's answers are missing or wrong; file, line and field are named.
    """
    file = folder / "result.json"
    result = validate_as(UnderstandResult, _read(file), file)
    view = View.of(result)
    scores = Resampled(view, folder)
    numbers = Numbers(view, scores)
    runs = _in_order(result, view)
    compared = [row for heard in _lead_first(view) for row in numbers.compare(heard)]
    together, split = numbers.together(), [row for heard in _lead_first(view) for row in numbers.split(heard)]
    sections: list[Section | None] = []
    if view.main:
        sections += [
            _held(numbers, compared),
            _table(view),
            _differences([*together, *compared], split, scores),
            *_curves(numbers),
            _classes(view),
            _modality(numbers),
            _questions(numbers),
            _answers(numbers),
        ]
    if runs:
        sections += [_maps(runs), Section("cost", "What it cost", "Cost", tables=(tables.cost_table(runs),))]
    sections += [_paper(view, numbers), _tasks(result, folder), _provenance(result, runs)]
    return Report(
        title=result.title or result.recipe,
        subtitle=_subtitle(view),
        headline=_headline(numbers, compared, runs) if view.main else None,
        missing=tuple(name for name in result.planned if name not in {run.name for run in result.runs}),
        done=len(result.runs),
        planned=max(len(result.planned), len(result.runs)),
        warnings=(),
        sections=tuple(section for section in sections if section is not None),
        csv={
            "cells": to_text(tables.cell_records(view)),
            "table": to_text(tables.table_records(view)),
            "comparisons": to_text(difference_records([*together, *compared, *split])),
            "classes": to_text(controls.class_records(view)),
            "label_maps": to_text(controls.map_records(runs)),
            "costs": to_text([_cost(run) for run in runs]),
            "published": to_text(tables.published_records()),
        },
    )


def _headline(numbers: Numbers, compared: Sequence[Compared], runs: Sequence[UnderstandRun]) -> Headline | None:
    view, heard = numbers.view, lead(numbers.view)
    if heard is None:
        return None
    trained = [run for run in runs if run.resources.steps] or list(runs)
    costs: tuple[tuple[str, str, str], ...] = ()
    if trained:
        cost = [run.resources for run in trained]
        costs = (
            ("trained parameters", compact(fmean(one.trainable_parameters for one in cost)),
             f"of {compact(fmean(one.total_parameters for one in cost))}"),
            ("training time", duration(fmean(one.train_seconds for one in cost)), "of a run, its base not counted"),
            ("peak memory", binary(max(one.peak_memory_bytes for one in cost)), str(cost[0].peak_memory_kind or "")),
            ("on disk", binary(max(one.adapter_bytes for one in cost)), "the adapter"),
        )  # fmt: skip
    main = next(
        (row for row in compared if (row.heard, row.what, row.where) == (heard, "random-regular", UNSEEN)), None
    )
    if main is not None:
        found, theirs = main.found, published.mean_difference()
        return Headline(
            group=f"{main.first} minus {main.second} labels",
            chosen_by=f"{tables.HEARD_AS[heard]}; {_count(found.tasks, 'task')}, {_count(found.sources, 'source')},"
            f" {_count(len(view.ks), 'number')} of demonstrations",
            accuracy=f"{100 * found.value:+z.1f}",
            interval=f"95 % interval {ends(found)}"
            if found.low is not None
            else "no interval: one task, source and seed",
            paper=f"{100 * theirs:+z.1f}",
            paper_label=f"{published.SOURCE}, mean of its three mismatched settings (ours); SALMONN-13B on other tasks",
            verdict=statements([main])[0],
            costs=costs,
            measure="points, on tasks that were not tuned on",
            unit="",
        )
    way = next((way for way in (*numbers.tuned, *view.ways) if view.pick(way, heard)), view.ways[0])
    score = numbers.mean(view.pick(way, heard, matched=False) or view.pick(way, heard))
    between = score is not None and score.low is not None
    return Headline(
        group=way,
        chosen_by=f"{tables.HEARD_AS[heard]}; random and regular labels cannot be compared yet",
        accuracy=percent(score.value if score else None, 1),
        interval=f"95 % interval {percent(score.low, 1)} to {percent(score.high, 1)}" if score and between else "",
        paper="",
        paper_label="",
        verdict="",
        costs=costs,
        measure="macro-F1, mean over tasks and demonstrations",
    )


def _held(numbers: Numbers, compared: Sequence[Compared]) -> Section | None:
    view, heard = numbers.view, lead(numbers.view)
    if heard is None or not compared:
        return None
    drawn = [figures.lead_figure(numbers, heard), figures.difference_figure(compared, heard)]
    first = [row for row in compared if row.heard == heard]
    told = {(row.what, row.where) for row in first}
    # what the lead cannot answer, the others may: controls on embeddings hear nothing
    others = []
    for row in compared:
        if (row.what, row.where) not in told:
            told.add((row.what, row.where))
            others.append(row)
    text = statements(
        [row for row in (*first, *others) if {row.first, row.second} <= _firsts(view) or "," in row.first]
    )
    return Section("held", "What held, and what did not", "What held", text,
                   tuple(figure for figure in drawn if figure is not None))  # fmt: skip


def _firsts(view: View) -> set[str]:
    """The first block of each regime: only these have a sentence, the others stand in the table."""
    return {way for way in view.ways if view.way(view.regime_of[way]) == way}


def _lead_first(view: View) -> list[str]:
    return sorted(view.heard, key=lambda heard: heard != lead(view))


def _table(view: View) -> Section:
    shown = tuple(tables.main_table(view, heard) for heard in _lead_first(view))
    return Section("table", "Labels, sources, tasks, demonstrations", "Table", tables=shown)


def _differences(compared: Sequence[Compared], split: Sequence[Compared], scores: Resampled) -> Section | None:
    if not compared:
        return None
    text = [HOW, CAVEAT]
    if scores.without:
        names = ", ".join(sorted(scores.without))
        text.append(
            f"Not all cells of {names} have answers on disk that can be drawn anew; comparisons with such cells speak"
            " of no other test examples."
        )
    kinds = list(dict.fromkeys(row.heard for row in compared if row.heard != "text and speech"))
    shown = [row for row in compared if row.heard in ("text and speech", kinds[0])]
    folded = [comparison_table([row for row in compared if row.heard == heard], f"Paired differences, {heard}")
              for heard in kinds[1:]]  # fmt: skip
    folded += [comparison_table(split, "Against regular labels, by demonstrations and by task")] if split else []
    table = comparison_table(shown, f"Paired differences, {kinds[0]}")
    return Section("differences", "Differences", "", tuple(text), tables=(table,), folded=tuple(folded))


def _curves(numbers: Numbers) -> list[Section]:
    sections = []
    for heard in _lead_first(numbers.view):
        panels, legend = figures.curve_figures(numbers, heard)
        if panels:
            told = "Means over sources and seeds of what was not tuned on the task; bars: 95 % intervals."
            title = f"Scores over demonstrations: {tables.HEARD_AS[heard]}"
            sections.append(Section(f"curves-{heard}", title, f"Curves: {heard}", figures=panels, legend=legend,
                                    legend_text=told))  # fmt: skip
    return sections


def _classes(view: View) -> Section | None:
    heard = lead(view)
    drawn, k = figures.class_figures(view, heard) if heard else ((), None)
    if not drawn or heard is None:
        return None
    text = (
        f"F1 in % with {k} demonstrations, {tables.HEARD_AS[heard]}, of what was not tuned on the task; counts of all"
    )
    return Section("classes", "Class by class", "Classes", (text + " sources and seeds together.",), drawn)


def _modality(numbers: Numbers) -> Section | None:
    pairs = (("text", "speech", "Text minus speech"), ("cascade", "speech", "Heard by a recogniser minus speech"),
             ("text", "cascade", "Text minus what a recogniser heard"))  # fmt: skip
    found = [controls.heard_table(numbers, first, second, caption) for first, second, caption in pairs]
    shown = tuple(table for table in found if table is not None)
    if not shown:
        return None
    drawn = figures.gap_figure(numbers)
    text = (
        "The same test examples as text and as speech. A cascade hears the speech with a recogniser and asks the text:"
        " the control for a model that hears by itself.",
        "Demonstrations of a cascade are near to what the recogniser heard, those of a model with ears of its own"
        " (model.ears) to what these hear. SALMONN and models behind a processor write nothing down: theirs are"
        " near to the transcript, which tells them more than they hear.",
    )
    return Section("modality", "Speech against text", "Speech", text, (drawn,) if drawn else (), tables=shown)


def _questions(numbers: Numbers) -> Section | None:
    order = controls.order_table(numbers.view)
    shown = (*controls.variation_tables(numbers), *((order,) if order else ()))
    fit = controls.fit_sentence(numbers.view)
    if not shown and not fit:
        return None
    return Section("asked", "The same question, asked otherwise", "Variations", (fit,) if fit else (), tables=shown)


def _answers(numbers: Numbers) -> Section:
    invalid = controls.invalid_table(numbers.view)
    shown = (*((invalid,) if invalid else ()), *controls.answer_tables(numbers))
    text = (
        "Calibrated answers divide out what the model says to a question without content. They stand here alone and in"
        " no other table.",
    )
    if invalid is None:
        text = ("Every answer was held to the classes of its task, so that none means nothing.",)
    return Section("answers", "Answers", "", text, tables=shown)


def _maps(runs: Sequence[UnderstandRun]) -> Section | None:
    table = controls.map_table(runs)
    if table is None:
        return None
    text = (
        "Random labels are a new permutation in every batch; regular and symbol are one map each. A permutation drawn"
        " uniformly keeps one class under its own name on average.",
    )
    drawn, legend = figures.map_figures(runs)
    return Section("maps", "Names of the classes while tuning", "Labels", text, drawn, legend, folded=(table,))


def _paper(view: View, numbers: Numbers) -> Section:
    heard = lead(view)
    relative = [tables.relative_table(view, numbers, heard)] if heard is not None else []
    return Section("paper", "The paper and ours", "Paper", PAPER, tables=(tables.paper_table(), *relative),
                   notes=published.NOTES)  # fmt: skip


def _tasks(result: UnderstandResult, folder: Path) -> Section:
    audit = _read(folder / "audit.json") if (folder / "audit.json").is_file() else {}
    found = audit.get("findings") if isinstance(audit, dict) else None
    findings = tuple((str(row["severity"]), str(row["message"])) for row in found or ())
    return Section("data", "Tasks", tables=(tables.task_table(result),), findings=findings)


def _provenance(result: UnderstandResult, runs: Sequence[UnderstandRun]) -> Section:
    hidden = {"versions", "cuda"}
    source = result.data.source
    facts = [
        ("recipe", result.recipe),
        ("recipe hash", result.hash),
        ("written", result.created),
        ("data", f"{source.location} ({source.kind})" if source else ""),
        ("data hash", result.data.sha256),
        *(("base model", base) for base in sorted({f"{r.base.name}, {r.base.fingerprint}" for r in runs})),
        ("seeds", ", ".join(map(str, sorted({run.seed for run in runs})))),
        ("chosen by", f"{result.selection.metric} on {result.selection.split} of the source; no task that is asked"
         " chooses anything"),
        *(
            (name.removesuffix("_bytes").replace("_", " "), binary(value) if name.endswith("_bytes") else str(value))
            for name, value in result.machine.items()
            if name not in hidden
        ),
        ("versions", ", ".join(f"{name} {value}" for name, value in result.versions.items() if value)),
    ]  # fmt: skip
    rows = tuple(Row(fact) for fact in facts if fact[1] not in ("", "None"))
    table = Table("Provenance", (Column("what", text=True), Column("value", text=True)), rows)
    folded = (tables.run_table(runs),) if runs else ()
    return Section("provenance", "Provenance", tables=(table,), folded=folded)


def _in_order(result: UnderstandResult, view: View) -> list[UnderstandRun]:
    """The runs as the table has them, whatever the order in which they ended."""
    place = {way: number for number, way in enumerate(view.ways)}
    planned = {name: number for number, name in enumerate(result.planned)}
    return sorted(result.runs, key=lambda r: (planned.get(r.name, len(planned)), place.get(r.way, 0), r.source, r.seed))


def _cost(run: UnderstandRun) -> dict[str, Any]:
    return {"run": run.name, "group": run.way, "regime": run.regime, "source": run.source, "seed": run.seed,
            "train_examples": run.train_examples, "steps": run.resources.steps,
            "trainable_parameters": run.resources.trainable_parameters,
            "total_parameters": run.resources.total_parameters, "train_seconds": run.resources.train_seconds,
            "evaluation_seconds": run.stages.evaluation, "base_seconds": run.stages.base,
            "answers_per_second": run.stages.answers_per_second,
            "peak_memory_bytes": run.resources.peak_memory_bytes,
            "adapter_bytes": run.resources.adapter_bytes}  # fmt: skip


def _subtitle(view: View) -> str:
    tuned = [name for name in view.sources if name != "none"]
    tasks = _count(len(view.tasks), "task")
    after = f", tuned on {', '.join(tuned)}" if tuned else ""
    return f"{_count(len(view.ways), 'kind')} of model{after}; {tasks}; {_count(len(view.asked), 'cell')}."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _read(file: Path) -> Any:
    try:
        return read_json(file)
    except DamagedFileError as error:
        raise InputError(str(error)) from None
