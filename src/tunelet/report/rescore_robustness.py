"""What the report of a `rescore` sweep says of robustness: tables, curves over p, and which strategy degrades more.

Not here: the numbers (`rescore_robustness_numbers`), the drawing (`rescore_robustness_plot`), the other sections
(`report.rescore`).

Example:
    >>> sections, csv = robustness_parts(view, Path("out/rescore-strategies"))         # doctest: +SKIP
    >>> [section.title for section in sections]                                         # doctest: +SKIP
    ['Robustness: test-clean']
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tunelet.data.perturb import Which
from tunelet.report.content import Figure, Section
from tunelet.report.csvs import Record, to_text
from tunelet.report.formats import NONE, p_value, spread
from tunelet.report.groups import Estimate
from tunelet.report.rescore_robustness_numbers import (
    FIRST_PASS,
    WHICH,
    Comparison,
    Strategy,
    compared,
    excess,
    oracle_before,
    rd,
    rd_oracle,
    share_changed,
    share_replaced,
    strategies,
    tau,
    wer_before,
)
from tunelet.report.rescore_robustness_plot import CONTROL, GREY, Degrading, degrading
from tunelet.report.rescore_view import View, way_name
from tunelet.report.svg import Plot
from tunelet.report.tables import Column, Row, Table

#: method of dynamic rank allocation, of which the paper tells
DYNAMIC = "adalora"
_NAMES = {"first": "1-best robustness", "all": "NPRR"}
_MOST = 7

_DEFINITION = (
    "The definition is ours; the formulae of the paper that introduced NPRR are not public. Each word of a hypothesis"
    " that has a homophone gives way to one of its homophones with probability p. First-pass scores and weights stay;"
    " everything else is scored again. RD is the relative rise of the word error rate: 1-best robustness where words of"
    " the first hypothesis alone were replaced, NPRR (N-best perturbation-based rescoring robustness) where words of"
    " all were. Lower is better. Replacing words takes right answers out of a list, too, so the first pass and the"
    " oracle stand beside it; the excess is RD above that of the first pass.",
)


def robustness_parts(view: View, folder: Path) -> tuple[tuple[Section, ...], dict[str, str]]:
    """The sections and the CSV files; nothing where no run was measured.

    Args:
        folder: of the sweep; the errors of each list are read there, for the comparison.
    """
    groups = strategies(view)
    if not groups:
        return (), {}
    comparisons, why_none = compared(groups, folder)
    names = dict.fromkeys(
        name for group in groups for run in group.runs if run.robustness for name in run.robustness.sets
    )
    found = tuple(
        _section(view, groups, name, [row for row in comparisons if row.set == name], why_none) for name in names
    )
    csv = {"robustness": to_text(records(groups))}
    if comparisons:
        csv["robustness_comparisons"] = to_text([_comparison_record(row) for row in comparisons])
    return found, csv


def records(groups: Sequence[Strategy]) -> list[Record]:
    """A row for each run, set, way, S, p and seed of the perturbation; shares as fractions."""
    named = {"rd": rd, "excess": excess, "rd_oracle": rd_oracle, "share_replaced": share_replaced,
             "share_changed": share_changed, "tau": tau}  # fmt: skip
    found: list[Record] = []
    for run in (run for group in groups for run in group.runs):
        for name, one in run.robustness.sets.items() if run.robustness else ():
            for way, rows in one.ways.items():
                for at in rows:
                    for row in at.rows:
                        counts = {key: getattr(row, key) for key in type(row).model_fields if key != "tau"}
                        place = {
                            "run": run.name,
                            "group": run.group,
                            "training_seed": run.seed,
                            "set": name,
                            "way": way,
                        }
                        derived = {key: quantity(row) for key, quantity in named.items()}
                        found.append({**place, "which": at.which, "p": at.p, **counts, **derived})
    return found


def _section(
    view: View, groups: Sequence[Strategy], name: str, comparisons: Sequence[Comparison], why_none: str
) -> Section:
    told = [run.robustness for group in groups for run in group.runs]
    own = next(one for one in told if one is not None and name in one.sets)
    ps = sorted(p for p in own.p if p > 0) or sorted(own.p)
    sample, words = own.sets[name], own.homophones
    text = [*_DEFINITION]
    text.append(
        f"Measured on {sample.utterances:,} of the {sample.of:,} lists of {name}, the same for all runs, with"
        f" {words.groups:,} groups of homophones ({words.source}, words that occur at least {words.min_per_million:g}"
        f" times in a million of {words.counted:,} words), seeds {', '.join(map(str, own.seeds))}."
    )
    text += [sentence for p in ps if (sentence := _finding(groups, comparisons, p))]
    if not comparisons and why_none:
        text.append(why_none)
    tables = [_table(groups, name, p) for p in ps]
    if comparisons:
        tables.append(_comparisons(comparisons))
    more = any(group.way != "scorer" and group.rows(name, "scorer", "all", ps[0]) for group in groups)
    folded = [_table(groups, name, p, "scorer") for p in ps] if more else []
    drawn = [_plot(view, groups, name, which, ps) for which in WHICH]
    figures = tuple(Figure(replace(plot, legend=()), "") for plot in drawn)
    caption = "Means over seeds; bars are 95 % t intervals, cut at the least and the greatest seed."
    return Section(f"robustness-{name}", f"Robustness: {name}", "Robustness", tuple(text), figures,
                   drawn[0].legend, caption, tuple(tables), folded=tuple(folded))  # fmt: skip


def _table(groups: Sequence[Strategy], name: str, p: float, way: str | None = None) -> Table:
    """Every strategy and the controls at one p.

    Args:
        way: of choosing; None: the one that each reports.
    """
    columns = [Column("strategy", text=True), Column("runs"), Column("word errors before %")]
    for which in WHICH:
        one = "in the first hypothesis" if which == "first" else "in all hypotheses"
        columns += [
            Column(f"{_NAMES[which]} %", help=f"relative rise of the word error rate when words {one} were replaced"),
            Column("excess, points", help="above the first pass alone"),
            Column("choices changed %", help="lists in which another hypothesis was chosen"),
            Column("τ", help="Kendall's τ-b of the scores before and after, mean over lists"),
        ]
    ways = {group.name: way or group.way for group in groups}
    rows = [
        _row(group, group.name, name, ways[group.name], p)
        for group in groups
        if group.rows(name, ways[group.name], "all", p)
    ]
    first = groups[0]
    ngram = next((group for group in groups if group.rows(name, "ngram", "all", p)), None)
    if ngram is not None and all(group.way != "ngram" for group in groups):
        rows.append(_row(replace(ngram, runs=ngram.runs[:1]), "control: n-gram alone", name, "ngram", p))
    control = replace(first, runs=first.runs[:1])
    rows.append(_row(control, "control: first pass", name, FIRST_PASS, p))
    oracle: list[str] = []
    for which in WHICH:
        oracle += [spread(control.estimate(name, FIRST_PASS, which, p, rd_oracle)), NONE, NONE, NONE]
    before = spread(control.estimate(name, FIRST_PASS, "all", p, oracle_before))
    rows.append(Row(("control: best hypothesis", NONE, before, *oracle), "published"))
    replaced = [control.estimate(name, FIRST_PASS, which, p, share_replaced) for which in WHICH]
    notes = [
        f"Words replaced: {spread(replaced[0])} % of those of the first hypotheses, {spread(replaced[1])} % of all.",
        "± is a 95 % t interval: over training seeds for a group of several runs, over the seeds of the perturbation"
        " for a single one and for the controls. It does not speak of other utterances; the comparison does.",
    ]
    told = f", {way_name(way)}" if way else ""
    return Table(f"Robustness on {name}, p = {p:g}{told}", tuple(columns), tuple(rows), tuple(notes))


def _row(group: Strategy, label: str, name: str, way: str, p: float) -> Row:
    cells = [spread(group.estimate(name, way, "all", p, wer_before))]
    for which in WHICH:
        shares = [group.estimate(name, way, which, p, quantity) for quantity in (rd, excess, share_changed)]
        ranks = spread(group.estimate(name, way, which, p, tau), percentage=False, digits=3)
        cells += [*(spread(share) for share in shares), ranks]
    control = label.startswith("control")
    return Row((label, NONE if control else str(len(group.runs)), *cells), "published" if control else "")


def _comparisons(rows: Sequence[Comparison]) -> Table:
    columns = (
        Column("strategy", text=True), Column("p"), Column("measure", text=True),
        Column(f"RD above {rows[0].against}, points", help="below 0: it degrades less"),
        Column("95 % interval", help=f"bootstrap over {rows[0].difference.unit}"),
        Column("p-value, Holm", help="two-sided, adjusted for all comparisons of the report"),
        Column("over training seeds", help="t interval of the difference"), Column("verdict", text=True),
    )  # fmt: skip
    out = []
    for row in rows:
        own, seeds = row.difference, row.over_seeds
        cells = (
            row.strategy, f"{row.p:g}", _NAMES[row.which], f"{100 * own.difference:+z.2f}", _ends(own.low, own.high),
            p_value(row.holm), _ends(seeds.low, seeds.high) if seeds else NONE, row.verdict,
        )  # fmt: skip
        out.append(Row(cells))
    notes = (
        f"The same lists and the same replaced words for both, {len(rows[0].seeds)} training seed"
        f"{'s' * (len(rows[0].seeds) > 1)} each; {rows[0].difference.unit} are drawn again, seeds are held fixed. A"
        " difference is called one where that interval is clear of 0 and Holm's p-value is below 0.05.",
    )
    return Table(f"Against vanilla LoRA ({rows[0].against})", columns, tuple(out), notes)


def _finding(groups: Sequence[Strategy], comparisons: Sequence[Comparison], p: float) -> str:
    """Whether what the paper found of dynamic rank holds here; "" if no group can say."""
    dynamic = [group.name for group in groups if group.method == DYNAMIC]
    found = {row.which: row for row in comparisons if row.strategy in dynamic[:1] and row.p == p}
    if set(found) != set(WHICH):
        return ""
    first, every = found["first"], found["all"]
    numbers = "; ".join(
        f"{_NAMES[row.which]} {100 * row.difference.difference:+z.2f} points"
        f" [{_ends(row.difference.low, row.difference.high)}]"
        for row in (first, every)
    )
    if (first.side, every.side) == ("worse", "better"):
        verdict = "Both intervals lie on the side that the paper names: the finding holds here."
    elif first.side == "better" or every.side == "worse":
        wrong = [_NAMES[row.which] for row, bad in ((first, "better"), (every, "worse")) if row.side == bad]
        lie = "lies" if len(wrong) == 1 else "lie"
        verdict = f"{' and '.join(wrong)} {lie} on the other side: the finding does not hold here."
    else:
        unsure = [_NAMES[row.which] for row in (first, every) if not row.side]
        reach = "The interval of {} reaches" if len(unsure) == 1 else "The intervals of {} reach"
        verdict = f"{reach.format(' and '.join(unsure))} over 0: the finding is not shown here, nor refuted."
    return (
        "The paper found that LoRA with dynamic rank degrades more than vanilla LoRA when the 1-best is perturbed and"
        f" less when all N are. Here, at p = {p:g}, {first.strategy} against {first.against}: {numbers}. {verdict}"
    )


def _plot(view: View, groups: Sequence[Strategy], name: str, which: Which, ps: Sequence[float]) -> Plot:
    """RD of every strategy and of the controls over p."""
    lines = []
    for number, group in enumerate(groups):
        style = view.styles[group.name] if number < _MOST else GREY
        lines.append(_line(group.name, style, [(p, group.estimate(name, group.way, which, p, rd)) for p in ps]))
    control = replace(groups[0], runs=groups[0].runs[:1])
    first = [(p, control.estimate(name, FIRST_PASS, which, p, rd)) for p in ps]
    lines.append(_line("first pass alone", CONTROL, first))
    return degrading(f"robustness-{name}-{which}", _NAMES[which], lines)


def _comparison_record(row: Comparison) -> Record:
    own = row.difference
    seeds = {f"{end}_over_seeds": getattr(row.over_seeds, end) if row.over_seeds else None for end in ("low", "high")}
    place = {"set": row.set, "which": row.which, "p": row.p, "strategy": row.strategy, "against": row.against}
    return {**place, "training_seeds": len(row.seeds), **own.to_json(), "p_value": own.p, "p_holm": row.holm, **seeds,
            "verdict": row.verdict} | {"p": row.p}  # fmt: skip


def _ends(low: float, high: float) -> str:
    return f"{100 * low:+z.2f} to {100 * high:+z.2f}"


def _line(label: str, style: int, points: Sequence[tuple[float, Estimate | None]]) -> Degrading:
    """From RD = 0 at p = 0."""
    told = [(0.0, 0.0, 0.0, 0.0)] if all(p > 0 for p, _ in points) else []
    for p, own in points:
        if own is not None:
            ends = own.interval
            low, high = (ends.low, ends.high) if ends else (own.mean, own.mean)
            # a t interval of two or three seeds can be wider than the plot is worth
            told.append((p, own.mean, max(low, min(own.values)), min(high, max(own.values))))
    return Degrading(label, tuple(told), style)
