"""The tables of the report of `rescore`: word errors, strategies side by side, pairs, weights, published numbers.

Not here: ranks (`rescore_ranks`), words that changed and curves (`rescore_changes`), the sentences on top
(`rescore_words`).

Example:
    >>> table = strategies(view, "test-clean")              # doctest: +SKIP
    >>> table.rows[0].cells[:3]                             # doctest: +SKIP
    ('lora', 'lora', '3')
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunelet.evaluation.statistics import seed_interval
from tunelet.report.formats import NONE, binary, compact, count, duration, p_value, percent, spread
from tunelet.report.groups import Estimate
from tunelet.report.rescore_pairs import GroupPair
from tunelet.report.rescore_published import PUBLISHED
from tunelet.report.rescore_schema import MatchedPairs
from tunelet.report.rescore_view import RunGroup, View, ends, feature_name, relative, way_name, way_of, ways_of, widest
from tunelet.report.tables import Column, Row, Table


def errors(view: View, name: str) -> Table:
    """First pass, every way of every run, oracle: the word errors of one set."""
    columns = (
        Column("run", text=True), Column("way", text=True), Column("word errors %"),
        Column("over utterances", help="95 % bootstrap interval"),
        Column("over speakers", help="95 % bootstrap interval"),
        Column("relative reduction %", help="against the first pass; interval over speakers where they are known"),
        Column("p", help="two-sided, paired bootstrap"),
        Column("p, matched pairs", help="test of Gillick & Cox, good words cut segments"),
        Column("beyond n-gram %", help="relative reduction against the n-gram model alone"),
        Column("p beyond n-gram", help="matched-pairs test against the n-gram model alone"), Column("errors"),
    )  # fmt: skip
    runs = [run for run in view.result.runs if name in run.metrics]
    whole = runs[0].metrics[name]
    nothing = (NONE,) * 5
    first = whole.first_pass
    rows = [
        Row(("first pass", "first hypothesis", percent(whole.wer_first_pass), ends(first.get("utterances")),
             ends(first.get("speakers")), *nothing, count(whole.errors_first_pass)))
    ]  # fmt: skip
    told: set[tuple[Any, ...]] = set()
    for run in runs:
        found = run.metrics[name]
        for way, own in found.ways.items():
            key = (way, own.errors, str(run.settings.get("ngram")))
            if way == "ngram" and key in told:
                continue  # the same model in every run
            told.add(key)
            paired, beyond = widest(own.reduction), own.reduction_over_ngram
            cells = (
                NONE if way == "ngram" else run.name, way_of(run, way), percent(own.wer),
                ends(own.interval.get("utterances")), ends(own.interval.get("speakers")), relative(paired),
                p_value(paired.p), _p(own.matched_pairs), relative(widest(beyond)) if beyond else NONE,
                _p(own.matched_pairs_over_ngram), count(own.errors),
            )  # fmt: skip
            chosen = view.best is not None and run.name == view.best.name and way == found.way
            rows.append(Row(cells, "best" if chosen else ""))
    rows.append(
        Row(("oracle", "best hypothesis", percent(whole.wer_oracle), NONE, NONE, *nothing, count(whole.errors_oracle)))
    )
    notes = [
        f"{whole.utterances:,} utterances, {whole.words:,} words, normalisation {view.result.data.normalise}. "
        + (
            "Utterances of one speaker are alike, so the interval over speakers is the one to believe."
            if "speakers" in first
            else "Not every speaker is known, so there are no intervals over speakers."
        )
    ]
    if name == "dev":
        notes.append("Weights and checkpoints were chosen on this set: its numbers are no result.")
    caption = f"Word errors of {name}" + (", which chose the weights" if name == "dev" else "")
    return Table(caption, columns, tuple(rows), tuple(notes))


def strategies(view: View, name: str) -> Table:
    """The groups side by side on one set: each way's word errors, and what the reported way reduces."""
    ways = ways_of(view.result.runs, name)
    columns = (
        Column("strategy", text=True), Column("method", text=True), Column("seeds"),
        *(Column(f"{label} %", help="word errors") for label in ways.values()),
        Column("relative reduction %", help="of what the runs report, against the first pass"),
        Column("beyond n-gram %", help="relative reduction against the n-gram model alone"),
        Column("p beyond n-gram", help="matched-pairs test of the seed with the fewest word errors on dev"),
    )  # fmt: skip
    rows = []
    for group in view.groups:
        own = group.best.metrics[name].ways[group.best.metrics[name].way]
        cells = (
            group.name, group.method, str(len(group.runs)), *(spread(group.wer(name, way)) for way in ways),
            spread(group.reduction(name), digits=1), spread(_beyond(group, name), digits=1),
            _p(own.matched_pairs_over_ngram),
        )  # fmt: skip
        rows.append(Row(cells, "best" if view.best is not None and group.name == view.best.group else ""))
    notes = (
        "± is a 95 % t interval of the mean over seeds: training luck alone. Intervals over utterances and speakers"
        " stand in the tables of each set.",
    )
    return Table(f"Strategies on {name}, fewest word errors on dev first", columns, tuple(rows), notes)


def costs(view: View) -> Table:
    """What each group cost, means over seeds."""
    columns = (
        Column("strategy", text=True), Column("method", text=True), Column("trained"),
        Column("share %", help="trained / all parameters"), Column("train time", help="mean per run"),
        Column("tokens/s", help="real tokens, padding not counted"), Column("peak memory"),
        Column("scorer on disk"),
    )  # fmt: skip
    rows = []
    for group in view.groups:
        trained, total = group.cost("trainable_parameters"), group.cost("total_parameters")
        cells = (
            group.name, group.method, compact(trained), percent(trained / total if trained and total else None),
            duration(group.cost("train_seconds")), count(group.cost("tokens_per_second")),
            binary(group.cost("peak_memory_bytes")), binary(group.cost("adapter_bytes")),
        )  # fmt: skip
        rows.append(Row(cells))
    kinds = {run.resources.peak_memory_kind for run in view.result.runs if run.resources.trainable_parameters} - {None}
    notes = (f"Peak memory: {', '.join(sorted(map(str, kinds)))}.",) if kinds else ()
    return Table("What each strategy cost", columns, tuple(rows), notes)


def runs(view: View) -> Table:
    """One row a run."""
    columns = (Column("run", text=True), Column("method", text=True), Column("seed"), Column("best step"),
               Column("stopped by", text=True), Column("dev %"), *(Column(f"{name} %") for name in view.sets),
               Column("train time"), Column("recipe hash", text=True))  # fmt: skip
    rows = []
    for run in view.result.runs:
        rates = (run.metrics[name].wer_rescored if name in run.metrics else None for name in ("dev", *view.sets))
        seconds = run.resources.train_seconds if run.resources.trainable_parameters else None
        cells = (run.name, run.method, str(run.seed), count(run.best_step), run.stopped or NONE, *map(percent, rates),
                 duration(seconds), run.hash[:10])  # fmt: skip
        rows.append(Row(cells))
    return Table("Every run", columns, tuple(rows))


def pairs(found: Sequence[GroupPair], name: str) -> Table | None:
    """Groups against full fine-tuning and against the n-gram model; None without a pair."""
    shown = [pair for pair in found if pair.set == name]
    if not shown:
        return None
    columns = (
        Column("first", text=True), Column("second", text=True),
        Column("Δ points", help="word error rate of the second minus that of the first, means over seeds"),
        Column("95 % interval"), Column("relative %"),
        Column("segments", help="with an error of either; matched-pairs test of one run of each"),
        Column("p, Holm", help="matched-pairs test"), Column("verdict", text=True),
    )  # fmt: skip
    rows = []
    for pair in shown:
        own = pair.change
        ours = f"[{100 * own.low:+z.2f}, {100 * own.high:+z.2f}]"
        cells = (
            pair.first, pair.second, f"{100 * own.reduction:+z.2f}", ours, percent(own.relative, 1),
            count(pair.test.segments), NONE if pair.p_holm is None else p_value(pair.p_holm), verdict(pair),
        )  # fmt: skip
        rows.append(Row(cells))
    notes = (
        f"Above 0: the first makes fewer word errors. Bootstrap over {shown[0].change.unit}, each group averaged over"
        " its seeds; the matched-pairs test (Gillick & Cox 1989) compares the seeds with the fewest errors on dev and"
        f" is corrected for {len(shown)} comparisons by Holm's method. A difference is called one where interval and"
        " test agree. “No difference shown” does not mean equal.",
    )
    return Table(f"Is the difference more than luck? {name}", columns, tuple(rows), notes)


def verdict(pair: GroupPair) -> str:
    """Which group makes fewer word errors, where the interval and the corrected test agree."""
    own = pair.change
    if (pair.p_holm is not None and pair.p_holm >= 0.05) or own.low <= 0 <= own.high:
        return "no difference shown"
    return f"{pair.first if own.reduction > 0 else pair.second} better"


def weights(view: View) -> Table:
    """The weights of every way of every run."""
    columns = (Column("run", text=True), Column("way", text=True), Column("feature", text=True), Column("weight"))
    rows = tuple(
        Row((run.name, way_name(way, own["weights"]), feature_name(feature), f"{weight:.4g}"))
        for run in view.result.runs
        for way, own in run.weights.items()
        for feature, weight in own["weights"].items()
    )
    return Table("Weights chosen on dev", columns, rows)


def published() -> Table:
    """What others measured."""
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
    return Table("Published numbers", columns, rows, notes)


def _beyond(group: RunGroup, name: str) -> Estimate | None:
    """Relative reduction of the reported way against the n-gram model, over the seeds."""
    values = []
    for run in group.runs:
        found = run.metrics.get(name)
        own = None if found is None else found.ways[found.way].reduction_over_ngram
        values.append(None if own is None else own["utterances"].relative)
    told = [value for value in values if value is not None]
    return Estimate(tuple(told), seed_interval(told)) if told and len(told) == len(values) else None


def _p(test: MatchedPairs | None) -> str:
    return NONE if test is None or test.p is None else p_value(test.p)
