"""What the report of `speech-encoder` says: word errors on voices that were never heard, by voice, over the steps.

Reads `result.json`, `audit.json` and the runs' `metrics.jsonl`. Not here: the templates, files (`page`).

Example:
    >>> make(Path("out/understand-speech-encoder")).headline.measure        # doctest: +SKIP
    'test word error rate'
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunelet.base.errors import DamagedFileError, InputError
from tunelet.base.files import read_json
from tunelet.report.content import Figure, Headline, Report, Section
from tunelet.report.csvs import to_text
from tunelet.report.formats import NONE, binary, compact, count, decimal, duration, percent
from tunelet.report.plots import Line, curves
from tunelet.report.result_schema import validate_as
from tunelet.report.speech_encoder_schema import HeardScores, SpeechEncoderResult, SpeechEncoderRun
from tunelet.report.tables import Column, Row, Table

_LIMITS = (
    "All speech but recordings comes from one synthesiser. Its voices differ less than people do: these rates say how"
    " well spoken queries of the same kind are understood, and little about human speech."
)


def make(folder: Path) -> Report:
    """Gather everything that the files of a sweep allow to be said.

    Raises:
        InputError: `result.json` is missing or wrong; file and field are named.
    """
    file = folder / "result.json"
    result = validate_as(SpeechEncoderResult, _read(file), file)
    ranked = sorted(result.runs, key=lambda run: run.metrics["validation"].wer)
    missing = tuple(name for name in result.planned if name not in {run.name for run in result.runs})
    texts = ", ".join(f"{number:,} to {split}" for split, number in result.data.splits.items())
    shown: tuple[Section, ...] = ()
    if ranked:
        shown = (
            Section("runs", "Encoders compared", "Encoders", tables=(_runs(ranked), _costs(ranked))),
            *_curves(folder, ranked),
            Section("voices", "Errors by voice", "Voices", tables=tuple(_voices(run) for run in ranked[:4])),
        )
    return Report(
        title=result.title or result.recipe,
        subtitle=f"Spoken texts: {texts}.",
        headline=_headline(ranked) if ranked else None,
        missing=missing,
        done=len(result.runs),
        planned=max(len(result.planned), len(result.runs)),
        warnings=(),
        sections=(*shown, _texts(result, folder), _provenance(result)),
        csv={"runs": to_text(_records(ranked)), "voices": to_text(_voice_records(ranked))},
    )


def _headline(ranked: Sequence[SpeechEncoderRun]) -> Headline:
    best = ranked[0]
    test, cost = best.metrics["test"], best.resources
    greedy = f"; {percent(test.wer, 1)} % without a language model" if test.searched is not None else ""
    said = f"{count(test.counts.words)} words of {count(len(test.by_voice))} voices"
    return Headline(
        group=best.name,
        chosen_by=f"best of {len(ranked)} by validation word errors ({percent(best.metrics['validation'].wer, 1)} %)",
        accuracy=percent(test.wer if test.searched is None else test.searched.rate, 1),
        interval=f"{said}{greedy}; characters {percent(test.cer, 1)} %",
        paper="",
        paper_label="",
        verdict=_LIMITS,
        costs=(
            ("parameters", compact(cost.total_parameters), "all of them train"),
            ("training time", duration(cost.train_seconds), f"{_times(best)} times as fast as speech"),
            ("peak memory", binary(cost.peak_memory_bytes), str(cost.peak_memory_kind or "")),
            ("on disk", binary(cost.adapter_bytes), "all files of the encoder's folder"),
        ),
        measure="test word error rate",
    )


def _runs(ranked: Sequence[SpeechEncoderRun]) -> Table:
    columns = (
        Column("run", text=True), Column("validation WER %"), Column("test WER %"), Column("test CER %"),
        Column("searched, test %", help="word errors of the search with a language model"),
        Column("recorded WER %", help="real recordings that are held out"),
        Column("searched, recorded %", help="the same with the search"),
        Column("pieces %", help="test error rate of the head over word pieces"),
    )  # fmt: skip
    rows = []
    for number, run in enumerate(ranked):
        test, real = run.metrics["test"], run.metrics.get("recorded")
        cells = (
            run.name, percent(run.metrics["validation"].wer, 1), percent(test.wer, 1), percent(test.cer, 1),
            _searched(test), percent(None if real is None else real.wer, 1), _searched(real),
            percent(test.piece_error_rate, 1),
        )  # fmt: skip
        rows.append(Row(cells, "" if number else "best"))
    search = next((run.search for run in ranked if run.search is not None), None)
    chosen = "" if search is None else (
        f" Searched: words found with a language model (weight {search['weight']:g}, {search['word_score']:g} a word,"
        " chosen on validation) that has read no text spoken in validation or test."
    )  # fmt: skip
    notes = (
        "Texts and voices of validation and test are not those of training. Where nothing else is said, the likeliest"
        f" symbol of each frame is taken. Noise is added to all clips but recordings.{chosen}",
    )
    return Table("All encoders, fewest word errors on validation first", columns, tuple(rows), notes)


def _costs(ranked: Sequence[SpeechEncoderRun]) -> Table:
    columns = (
        Column("run", text=True), Column("parameters"), Column("head", help="word pieces"),
        Column("near, pieces", help="mean cosine of sentences heard and read, by the head over word pieces; test"),
        Column("near, letters", help="the same by the characters, tokenised; test"),
        Column("heard", help="sound of the training split"), Column("steps"), Column("train time"),
        Column("x speech", help="seconds of sound a second of training"), Column("peak memory"),
    )  # fmt: skip
    rows = tuple(
        Row((
            run.name, compact(run.resources.total_parameters), NONE if run.pieces is None else count(run.pieces),
            *(decimal((run.nearness or {}).get(way)) for way in ("pieces", "characters")),
            duration(run.heard_seconds), count(run.resources.steps),
            duration(run.resources.train_seconds), _times(run), binary(run.resources.peak_memory_bytes),
        ))
        for run in ranked
    )  # fmt: skip
    return Table("What they are and what they cost", columns, rows)


def _searched(scores: HeardScores | None) -> str:
    return NONE if scores is None or scores.searched is None else percent(scores.searched.rate, 1)


def _voices(run: SpeechEncoderRun) -> Table:
    columns = (Column("split", text=True), Column("voice", text=True), Column("WER %"), Column("words"),
               Column("substitutions"), Column("deletions"), Column("insertions"))  # fmt: skip
    rows = tuple(
        Row((split, voice, percent(e.rate, 1), count(e.words), count(e.substitutions), count(e.deletions),
             count(e.insertions)))
        for split, scores in run.metrics.items()
        for voice, e in sorted(scores.by_voice.items(), key=lambda pair: pair[1].rate)
    )  # fmt: skip
    return Table(f"Word errors of {run.name} by voice", columns, rows)


def _curves(folder: Path, ranked: Sequence[SpeechEncoderRun]) -> tuple[Section, ...]:
    """Word errors over the steps, from the runs' logs; nothing where there are none."""
    lines = []
    for number, run in enumerate(ranked[:6]):
        points = _logged(folder / run.folder / "metrics.jsonl")
        if points:
            lines.append(Line(run.name, points, number))
    if not lines:
        return ()
    plot = curves("wer", "Validation word error rate, %", lines, percent=False)
    caption = "Word error rate on the validation voices over the optimiser's steps."
    return (Section("curves", "Training", "Training", figures=(Figure(plot, caption),), legend=plot.legend),)


def _logged(path: Path) -> list[tuple[float, float]]:
    if not path.is_file():
        return []
    points = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            points.append((float(row["step"]), 100 * float(row["validation"]["wer"])))
        except (ValueError, KeyError, TypeError):
            continue
    return points


def _texts(result: SpeechEncoderResult, folder: Path) -> Section:
    data = result.data
    splits = tuple(data.splits)
    columns = (Column("source", text=True), *(Column(split) for split in splits))
    rows = [Row((name, *(count(found.get(split, 0)) for split in splits))) for name, found in data.texts.items()]
    rows.append(Row(("words", *(count(data.words.get(split)) for split in splits))))
    rows.append(Row(("voices", *(count(len(data.voices.get(split, ()))) for split in splits))))
    for name, number in data.recordings.items():
        rows.append(Row((f"recordings: {name}", count(number), "", count(data.recorded.get(name)))))
    audit = _read(folder / "audit.json") if (folder / "audit.json").is_file() else {}
    found = audit.get("findings") if isinstance(audit, dict) else None
    findings = tuple((str(row["severity"]), str(row["message"])) for row in found or ())
    return Section(
        "texts", "What was spoken", "Texts", tables=(Table("Texts", columns, tuple(rows)),), findings=findings
    )


def _provenance(result: SpeechEncoderResult) -> Section:
    facts = [
        ("recipe", result.recipe),
        ("recipe hash", result.hash),
        ("written", result.created),
        ("texts", f"{result.data.source.location} ({result.data.source.kind})"),
        ("texts hash", result.data.sha256),
        *((f"encoder of {run.name}", f"fingerprint {run.base.fingerprint}") for run in result.runs),
        *(
            (name.removesuffix("_bytes").replace("_", " "), binary(value) if name.endswith("_bytes") else str(value))
            for name, value in result.machine.items()
            if name not in ("versions", "cuda")
        ),
        ("versions", ", ".join(f"{name} {value}" for name, value in result.versions.items() if value)),
    ]
    columns = (Column("what", text=True), Column("value", text=True))
    rows = tuple(Row(fact) for fact in facts if fact[1] not in ("", "None"))
    return Section("provenance", "Provenance", tables=(Table("Provenance", columns, rows),))


def _records(runs: Sequence[SpeechEncoderRun]) -> list[dict[str, Any]]:
    keys = ("wer", "cer", "piece_error_rate", "loss", "clips", "seconds")
    return [
        {
            "run": run.name,
            "seed": run.seed,
            "best_step": run.best_step,
            "pieces": run.pieces,
            "heard_seconds": run.heard_seconds,
            **{
                f"{split}_{key}": getattr(run.metrics.get(split), key, None)
                for split in ("validation", "test", "recorded")
                for key in keys
            },
            **{
                f"{split}_searched_wer": None if scores.searched is None else scores.searched.rate
                for split, scores in run.metrics.items()
            },
            "total_parameters": run.resources.total_parameters,
            "train_seconds": run.resources.train_seconds,
            "frames_per_second": run.resources.tokens_per_second,
        }
        for run in runs
    ]


def _voice_records(runs: Sequence[SpeechEncoderRun]) -> list[dict[str, Any]]:
    return [
        {"run": run.name, "split": split, "voice": voice, **errors.model_dump(), "wer": errors.rate}
        for run in runs
        for split, scores in run.metrics.items()
        for voice, errors in scores.by_voice.items()
    ]


def _times(run: SpeechEncoderRun) -> str:
    """Seconds of sound that a second of training takes in: frames are of 10 ms."""
    return f"{run.resources.tokens_per_second / 100:,.0f}"


def _read(file: Path) -> Any:
    try:
        return read_json(file)
    except DamagedFileError as error:
        raise InputError(str(error)) from None
