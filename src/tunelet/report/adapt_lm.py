"""What the report of `adapt-lm` says: losses and perplexities side by side, what they cost, and on which text.

Tables alone; the same templates as for `classify` render it. Reads only `result.json` and `audit.json`. Not here: the
templates, files (`page`).

Example:
    >>> make(Path("out/adapt-lm")).headline.measure         # doctest: +SKIP
    'test perplexity'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunelet.base.errors import DamagedFileError, InputError
from tunelet.base.files import read_json
from tunelet.report.adapt_lm_schema import AdaptLmResult, AdaptLmRun, LanguageScores
from tunelet.report.content import Headline, Report, Section
from tunelet.report.csvs import to_text
from tunelet.report.formats import NONE, binary, compact, count, duration, learning_rate, percent, spread
from tunelet.report.groups import Estimate
from tunelet.report.result_schema import validate_as
from tunelet.report.tables import Column, Row, Table, estimate

_SCORES = tuple(LanguageScores.model_fields)
_COSTS = ("trainable_parameters", "total_parameters", "train_seconds", "tokens_per_second", "peak_memory_bytes",
          "adapter_bytes")  # fmt: skip


def make(folder: Path) -> Report:
    """Gather everything that the files of a sweep allow to be said.

    Raises:
        InputError: `result.json` is missing or wrong; file and field are named.
    """
    file = folder / "result.json"
    result = validate_as(AdaptLmResult, _read(file), file)
    groups: dict[str, list[AdaptLmRun]] = {}
    for run in result.runs:
        groups.setdefault(run.group, []).append(run)
    order = sorted(groups, key=lambda name: _mean(groups[name], "validation", "loss"))
    ranked = [groups[name] for name in order]
    missing = tuple(name for name in result.planned if name not in {run.name for run in result.runs})
    words = ", ".join(f"{number:,} words to {split}" for split, number in result.data.words.items())
    shown = (_groups(ranked, result.data.unit),) if ranked else ()
    settings = (Section("settings", "Settings compared", "Settings", tables=shown),) if ranked else ()
    return Report(
        title=result.title or result.recipe,
        subtitle=f"A language model of {result.data.source.location}: {words}.",
        headline=_headline(ranked) if ranked else None,
        missing=missing,
        done=len(result.runs),
        planned=max(len(result.planned), len(result.runs)),
        warnings=(),
        sections=(*settings, _text(result, folder), _provenance(result)),
        csv={"groups": to_text(_group_records(ranked)), "runs": to_text(_run_records(result.runs))},
    )


def _headline(ranked: Sequence[list[AdaptLmRun]]) -> Headline:
    best = ranked[0]
    test = _estimate(best, "test", "perplexity")
    ends = "" if test.interval is None else f"95 % interval {test.interval.low:.2f} to {test.interval.high:.2f} (t)"
    loss = spread(_estimate(best, "validation", "loss"), percentage=False, digits=4)
    share = _cost(best, "trainable_parameters") / _cost(best, "total_parameters")
    memory = best[0].resources.peak_memory_kind
    return Headline(
        group=best[0].group,
        chosen_by=f"best of {len(ranked)} by validation loss ({loss} nats a token), {_seeds(best)}",
        accuracy=f"{test.mean:.2f}",
        interval=ends,
        paper="",
        paper_label="",
        verdict="A token's perplexity, over the model's vocabulary: it compares between settings of the same kind, "
        "tokenizer and vocabulary alone, and says little about word errors.",
        costs=(
            ("trained parameters", compact(_cost(best, "trainable_parameters")),
             f"{percent(share)} % of {compact(_cost(best, 'total_parameters'))}"),
            ("training time", duration(_cost(best, "train_seconds")),
             f"per run, {count(_cost(best, 'tokens_per_second'))} tokens/s"),
            ("peak memory", binary(_cost(best, "peak_memory_bytes")), str(memory or "")),
            ("on disk", binary(_cost(best, "adapter_bytes")), "all files of the adapter folder"),
        ),
        measure="test perplexity",
        unit="",
    )  # fmt: skip


def _groups(ranked: Sequence[list[AdaptLmRun]], unit: str) -> Table:
    columns = (
        Column("setting", text=True), Column("kind", text=True), Column("seeds"),
        Column("vocabulary", help="tokens over which probabilities are"),
        Column("validation loss", help="nats a token"), Column("test loss", help="nats a token"),
        Column("test perplexity", help="of a token"), Column("of a word", help="test perplexity of a word"),
        Column("test tokens", help="that were asked for, a run"),
        Column("cut", help="test tokens that are not in the vocabulary, a run"), Column("trained"),
        Column("share %", help="trained / all parameters"), Column("train time"), Column("tokens/s"),
        Column("peak memory"), Column("on disk"),
    )  # fmt: skip
    rows = []
    for number, runs in enumerate(ranked):
        shown: list[tuple[str, str, int]] = [("validation", "loss", 4), ("test", "loss", 4), ("test", "perplexity", 2),
                                             ("test", "word_perplexity", 1)]  # fmt: skip
        scores = [spread(_estimate(runs, split, key), percentage=False, digits=digits) for split, key, digits in shown]
        share = _cost(runs, "trainable_parameters") / _cost(runs, "total_parameters")
        cells = (
            runs[0].group, _kind(runs[0]), str(len(runs)), "all" if runs[0].kept is None else count(runs[0].kept),
            *scores, count(_mean(runs, "test", "tokens")), count(_mean(runs, "test", "cut_tokens")),
            compact(_cost(runs, "trainable_parameters")), percent(share), duration(_cost(runs, "train_seconds")),
            count(_cost(runs, "tokens_per_second")), binary(_cost(runs, "peak_memory_bytes")),
            binary(_cost(runs, "adapter_bytes")),
        )  # fmt: skip
        rows.append(Row(cells, "" if number else "best"))
    notes = (
        f"Validation and test are {unit}s of their own. A masked model is asked for a share of the tokens, with masks"
        " that are the same for every setting of a tokenizer; its perplexity of a word is that of such masks. Tokens"
        " that are cut from the vocabulary count nowhere, which flatters a cut one.",
        "± is half a 95 % t interval over seeds.",
    )
    return Table("All settings, lowest validation loss first", columns, tuple(rows), notes)


def _text(result: AdaptLmResult, folder: Path) -> Section:
    data = result.data
    columns = (Column("split", text=True), Column(f"{data.unit}s"), Column("sentences"), Column("words"))
    rows = tuple(
        Row((split, count(data.units.get(split)), count(sentences), count(data.words.get(split))))
        for split, sentences in data.splits.items()
    )
    audit = _read(folder / "audit.json") if (folder / "audit.json").is_file() else {}
    found = audit.get("findings") if isinstance(audit, dict) else None
    findings = tuple((str(row["severity"]), str(row["message"])) for row in found or ())
    return Section("text", "The text", "Text", tables=(Table("Splits", columns, rows),), findings=findings)


def _provenance(result: AdaptLmResult) -> Section:
    bases = sorted({f"{run.base.name}, fingerprint {run.base.fingerprint}" for run in result.runs})
    hidden = {"versions", "cuda"}
    facts = [
        ("recipe", result.recipe),
        ("recipe hash", result.hash),
        ("written", result.created),
        ("text", f"{result.data.source.location} ({result.data.source.kind})"),
        ("text hash", result.data.sha256),
        *(("base model", base) for base in bases),
        ("chosen by", f"{result.selection.metric} on {result.selection.split}; the test split chooses nothing"),
        *(
            (name.removesuffix("_bytes").replace("_", " "), binary(value) if name.endswith("_bytes") else str(value))
            for name, value in result.machine.items()
            if name not in hidden
        ),
        ("versions", ", ".join(f"{name} {value}" for name, value in result.versions.items() if value)),
    ]
    table = Table(
        "Provenance",
        (Column("what", text=True), Column("value", text=True)),
        tuple(Row(fact) for fact in facts if fact[1] not in ("", "None")),
    )
    return Section("provenance", "Provenance", tables=(table,), folded=(_runs(result.runs),))


def _runs(runs: Sequence[AdaptLmRun]) -> Table:
    columns = (Column("run", text=True), Column("seed"), Column("learning rate"), Column("best step"), Column("steps"),
               Column("stopped by", text=True), Column("validation loss"), Column("test loss"), Column("train time"),
               Column("recipe hash", text=True))  # fmt: skip
    rows = tuple(
        Row((run.name, str(run.seed), learning_rate((run.settings.get("training") or {}).get("learning_rate")),
             count(run.best_step), count(run.resources.steps), run.stopped or NONE,
             *(f"{run.metrics[split].loss:.4f}" if split in run.metrics else NONE for split in ("validation", "test")),
             duration(run.resources.train_seconds), run.hash[:10]))
        for run in runs
    )  # fmt: skip
    return Table("Every run", columns, rows)


def _group_records(ranked: Sequence[list[AdaptLmRun]]) -> list[dict[str, Any]]:
    return [
        {
            "group": runs[0].group,
            "kind": _kind(runs[0]),
            "seeds": len(runs),
            "kept": runs[0].kept,
            **_by_split(lambda split, key, runs=runs: _mean(runs, split, key)),  # type: ignore[misc]
            **{key: _cost(runs, key) for key in _COSTS},
        }
        for runs in ranked
    ]


def _run_records(runs: Sequence[AdaptLmRun]) -> list[dict[str, Any]]:
    return [
        {
            "run": run.name,
            "group": run.group,
            "seed": run.seed,
            "kept": run.kept,
            "best_step": run.best_step,
            **_by_split(lambda split, key, run=run: getattr(run.metrics.get(split), key, None)),  # type: ignore[misc]
            **{key: getattr(run.resources, key) for key in _COSTS},
        }
        for run in runs
    ]


def _by_split(value: Callable[[str, str], Any]) -> dict[str, Any]:
    return {f"{split}_{key}": value(split, key) for split in ("validation", "test") for key in _SCORES}


def _estimate(runs: Sequence[AdaptLmRun], split: str, key: str) -> Estimate:
    return estimate([float(getattr(run.metrics[split], key)) for run in runs])


def _mean(runs: Sequence[AdaptLmRun], split: str, key: str) -> float:
    return _estimate(runs, split, key).mean


def _cost(runs: Sequence[AdaptLmRun], key: str) -> float:
    return sum(float(getattr(run.resources, key)) for run in runs) / len(runs)


def _kind(run: AdaptLmRun) -> str:
    return str((run.settings.get("language") or {}).get("kind", NONE))


def _seeds(runs: Sequence[AdaptLmRun]) -> str:
    return "one seed" if len(runs) == 1 else f"mean of {len(runs)} seeds"


def _read(file: Path) -> Any:
    try:
        return read_json(file)
    except DamagedFileError as error:
        raise InputError(str(error)) from None
