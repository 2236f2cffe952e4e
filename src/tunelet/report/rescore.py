"""What the report of a `rescore` sweep says: word errors per set and way, weights, costs, published numbers. Not here:
markup (`templates/`), how word errors are counted (`evaluation.transcripts`).

Example:
    >>> report = make(Path("out/rescore"))                  # doctest: +SKIP
    >>> report.headline.accuracy, report.headline.measure   # doctest: +SKIP
    ('6.00', 'word error rate, test-clean')
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunelet.base.errors import DamagedFileError, InputError
from tunelet.base.files import read_json
from tunelet.report.content import Headline, Report, Section
from tunelet.report.csvs import Record, to_text
from tunelet.report.formats import NONE, binary, compact, count, duration, p_value, percent
from tunelet.report.rescore_published import PUBLISHED
from tunelet.report.rescore_schema import Interval, Reduction, RescoreResult, RescoreRun, WordErrors
from tunelet.report.result_schema import validate_as
from tunelet.report.tables import Column, Row, Table

_WAYS = {"ngram": "n-gram alone", "scorer": "scorer alone", "combined": "scorer and n-gram"}


def make(folder: Path) -> Report:
    """Gather the report of a sweep, finished or half-way.

    Raises:
        InputError: `result.json` or `audit.json` is damaged; file and field are named.
    """
    result = validate_as(RescoreResult, _parsed(folder / "result.json"), folder / "result.json")
    audit = _parsed(folder / "audit.json") if (folder / "audit.json").is_file() else {}
    done = {run.name for run in result.runs}
    best = min(result.runs, key=lambda run: run.metrics["dev"].wer_rescored) if result.runs else None
    sets = [name for name in result.data.splits if name not in ("train", "dev")]
    sections = [_errors(result, name, best) for name in (*sets, "dev") if best is not None]
    if best is not None:
        sections += [_costs(result), _weights(result), _published()]
    sections += [_lists(audit), _provenance(result)]
    return Report(
        title=result.title or result.recipe,
        subtitle=_subtitle(result),
        headline=_headline(best, sets) if best is not None else None,
        missing=tuple(name for name in result.planned if name not in done),
        done=len(result.runs),
        planned=max(len(result.planned), len(result.runs)),
        warnings=(),
        sections=tuple(sections),
        csv={"word_errors": to_text(_records(result)), "weights": to_text(_weight_records(result))},
    )


def _headline(best: RescoreRun, sets: Sequence[str]) -> Headline:
    found = best.metrics[sets[0]]
    own = found.ways[found.way]
    interval, reduction = _widest(own.interval), _widest(own.reduction)
    verdict = (
        f"The first pass has {percent(found.wer_first_pass)} %: a relative reduction of {_relative(reduction)} %,"
        f" p {p_value(reduction.p)}. The best hypothesis of each list would give {percent(found.wer_oracle)} %."
    )
    costs = (
        ("trained", compact(best.resources.trainable_parameters), "parameters"),
        ("training", duration(best.resources.train_seconds), "evaluation not included"),
        ("utterances", count(found.utterances), f"{found.words:,} words"),
    )
    return Headline(
        group=f"{best.group}: {_WAYS.get(found.way, found.way)}",
        chosen_by="the run with the fewest word errors on dev",
        accuracy=percent(found.wer_rescored),
        interval=f"95 % interval {percent(interval.low)} to {percent(interval.high)}",
        paper="",
        paper_label="",
        verdict=verdict,
        costs=costs,
        measure=f"word error rate, {sets[0]}",
    )


def _errors(result: RescoreResult, name: str, best: RescoreRun | None) -> Section:
    """The table of word errors of one set."""
    columns = (
        Column("run", text=True), Column("way", text=True), Column("word errors %"),
        Column("over utterances", help="95 % bootstrap interval"),
        Column("over speakers", help="95 % bootstrap interval"),
        Column("relative reduction %", help="against the first pass; interval over speakers where they are known"),
        Column("p", help="two-sided, paired bootstrap"),
        Column("beyond n-gram %", help="relative reduction against the n-gram model alone"), Column("errors"),
    )  # fmt: skip
    whole = result.runs[0].metrics[name]
    nothing = (NONE,) * 3
    first = whole.first_pass
    rows = [
        Row(("first pass", "first hypothesis", percent(whole.wer_first_pass), _ends(first.get("utterances")),
             _ends(first.get("speakers")), *nothing, count(whole.errors_first_pass)))
    ]  # fmt: skip
    told: set[tuple[Any, ...]] = set()
    for run in result.runs:
        found = run.metrics[name]
        for way, own in found.ways.items():
            key = (way, own.errors, str(run.settings.get("ngram")))
            if way == "ngram" and key in told:
                continue  # the same model in every run
            told.add(key)
            paired, beyond = _widest(own.reduction), own.reduction_over_ngram
            cells = (
                NONE if way == "ngram" else run.name, _WAYS.get(way, way), percent(own.wer),
                _ends(own.interval.get("utterances")), _ends(own.interval.get("speakers")), _relative(paired),
                p_value(paired.p), _relative(_widest(beyond)) if beyond else NONE, count(own.errors),
            )  # fmt: skip
            chosen = best is not None and run.name == best.name and way == found.way
            rows.append(Row(cells, "best" if chosen else ""))
    rows.append(
        Row(("oracle", "best hypothesis", percent(whole.wer_oracle), NONE, NONE, *nothing, count(whole.errors_oracle)))
    )
    notes = [
        f"{whole.utterances:,} utterances, {whole.words:,} words, normalisation {result.data.normalise}. "
        + (
            "Utterances of one speaker are alike, so the interval over speakers is the one to believe."
            if "speakers" in first
            else "Not every speaker is known, so there are no intervals over speakers."
        )
    ]
    if name == "dev":
        notes.append("Weights and checkpoints were chosen on this set: its numbers are no result.")
    caption = f"Word errors of {name}" + (", which chose the weights" if name == "dev" else "")
    return Section(
        f"errors-{name}", f"Word errors: {name}", name, tables=(Table(caption, columns, tuple(rows), tuple(notes)),)
    )


def _costs(result: RescoreResult) -> Section:
    columns = (Column("run", text=True), Column("method", text=True), Column("trained"), Column("share %"),
               Column("best step"), Column("train time"), Column("peak memory"), Column("scorer on disk"))  # fmt: skip
    rows = []
    for run in result.runs:
        own = run.resources
        some = own.trainable_parameters > 0
        cells = (
            run.name, run.method, compact(own.trainable_parameters) if some else NONE,
            percent(own.trainable_parameters / own.total_parameters) if some else NONE,
            count(run.best_step), duration(own.train_seconds) if some else NONE,
            binary(own.peak_memory_bytes) if some else NONE, binary(own.adapter_bytes) if some else NONE,
        )  # fmt: skip
        rows.append(Row(cells))
    return Section("costs", "What it cost", "Costs", tables=(Table("Every run", columns, tuple(rows)),))


def _weights(result: RescoreResult) -> Section:
    columns = (Column("run", text=True), Column("way", text=True), Column("feature", text=True), Column("weight"))
    rows = tuple(
        Row((row["run"], str(_WAYS.get(row["way"], row["way"])), row["feature"], f"{row['weight']:.4g}"))
        for row in _weight_records(result)
    )
    text = (
        "A hypothesis scores its first-pass score plus the weighted features. The weights have the fewest word errors"
        " on dev, by exact line search.",
    )
    return Section("weights", "Weights", "", text, tables=(Table("Weights chosen on dev", columns, rows),))


def _published() -> Section:
    columns = (Column("system", text=True), Column("set", text=True), Column("before %"), Column("after %"),
               Column("relative %"), Column("source", text=True))  # fmt: skip
    rows = tuple(
        Row((one.system, one.set, one.before or NONE, one.after or NONE, one.relative or NONE, one.source), "published")
        for one in PUBLISHED
    )
    notes = (
        "These are other first passes, longer lists and larger models: they say what is usual, and do not compare with"
        " the numbers above.",
    )
    return Section("published", "Published", "", tables=(Table("Published numbers", columns, rows, notes),))


def _lists(audit: Any) -> Section:
    quality = audit.get("quality", {}) if isinstance(audit, dict) else {}
    findings = tuple((str(row["severity"]), str(row["message"])) for row in (audit.get("findings") or ()))
    columns = (Column("set", text=True), Column("lists"), Column("hypotheses"), Column("first pass errors"),
               Column("oracle errors"), Column("best hypothesis is first, lists"))  # fmt: skip
    rows = tuple(
        Row((name, count(own["lists"]), count(own["hypotheses"]), count(_sum(own["first_pass"])),
             count(_sum(own["oracle"])), count(own["ranks"][0])))
        for name, own in quality.items()
    )  # fmt: skip
    tables = (Table("Lists as they came", columns, rows),) if rows else ()
    text = () if rows else ("The lists are made of sound in the run itself; the tables above count them.",)
    return Section("audit", "Lists", "Lists", text, tables=tables, findings=findings)


def _provenance(result: RescoreResult) -> Section:
    facts = [
        ("recipe", result.recipe), ("recipe hash", result.hash), ("data", result.data.source.location),
        ("data hash", result.data.sha256), ("normalisation", result.data.normalise),
        ("text of the n-gram model", f"{len(result.data.text)} files" if result.data.text else "none"),
        ("bases", ", ".join(sorted({f"{r.base.name} {r.base.fingerprint[:16]}".strip() for r in result.runs})) or NONE),
        ("processor", str(result.machine.get("processor") or result.machine.get("cpu") or NONE)),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted(result.versions.items()))),
    ]  # fmt: skip
    rows = tuple(Row((name, value)) for name, value in facts)
    table = Table("Where the numbers come from", (Column("what", text=True), Column("value", text=True)), rows)
    return Section("provenance", "Provenance", tables=(table,))


def _records(result: RescoreResult) -> list[Record]:
    """One row for each run, set and way, shares as fractions."""
    records: list[Record] = []
    for run in result.runs:
        for name, found in run.metrics.items():
            for way, own in found.ways.items():
                units = {
                    f"{end}_{unit}": getattr(own.interval[unit], end)
                    for unit in own.interval
                    for end in ("low", "high")
                }
                records.append({"run": run.name, "group": run.group, "seed": run.seed, "set": name, "way": way,
                                "reported": way == found.way, **_counts(found), "errors": own.errors, "wer": own.wer,
                                **units})  # fmt: skip
    return records


def _counts(found: WordErrors) -> Record:
    names = ("utterances", "words", "errors_first_pass", "errors_oracle", "wer_first_pass", "wer_oracle")
    return {name: getattr(found, name) for name in names}


def _weight_records(result: RescoreResult) -> list[Record]:
    return [
        {"run": run.name, "way": way, "feature": feature, "weight": weight}
        for run in result.runs
        for way, own in run.weights.items()
        for feature, weight in own["weights"].items()
    ]


def _subtitle(result: RescoreResult) -> str:
    sizes = ", ".join(f"{size:,} {name}" for name, size in result.data.splits.items())
    return f"{'sound' if result.data.sound else 'N-best lists'}: {sizes} utterances; {len(result.runs)} runs"


def _widest(by_unit: Any) -> Any:
    """Over speakers where they are known, else over utterances."""
    return by_unit.get("speakers") or by_unit["utterances"]


def _ends(interval: Interval | None) -> str:
    return NONE if interval is None else f"{percent(interval.low)} to {percent(interval.high)}"


def _relative(found: Reduction) -> str:
    if found.relative is None or found.relative_low is None or found.relative_high is None:
        return NONE
    ends = f"{percent(found.relative_low, 1)}, {percent(found.relative_high, 1)}"
    return f"{percent(found.relative, 1)} [{ends}]"


def _sum(counts: Any) -> int:
    return int(counts["substitutions"]) + int(counts["deletions"]) + int(counts["insertions"])


def _parsed(file: Path) -> Any:
    try:
        return read_json(file)
    except DamagedFileError as error:
        raise InputError(str(error)) from None
