"""What held and what did not, in plain words made of the numbers of a `rescore` sweep. Not here: the numbers.

A sentence says that something is so only where its interval is clear of zero; else it says that it is open, and by how
much the truth may lie on the other side.

Example:
    >>> gain("lora", "than the first pass", 0.024, 0.01, 0.04)
    'lora makes 2.4 % [1.0, 4.0] fewer word errors than the first pass, clear of zero.'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from tunelet.report.formats import p_value, percent
from tunelet.report.rescore_pairs import GroupPair
from tunelet.report.rescore_schema import Reduction, RescoreRun, WordErrors
from tunelet.report.rescore_tables import verdict
from tunelet.report.rescore_view import View, way_of, widest

#: Where an interval lies.
Side = Literal["above", "below", "open"]


def statements(view: View, pairs: Sequence[GroupPair]) -> tuple[str, ...]:
    """The sentences on every test set; () before a run has ended."""
    best = view.best
    if best is None:
        return ()
    said: list[str] = []
    for name in view.sets:
        found, start = best.metrics[name], f"{name}: "
        said.append(start + " ".join([*_whole(best, found), *_network(best, found)]))
        start = start if len(view.sets) > 1 else ""
        if view.full is not None:
            said += [start + _against(pair) for pair in pairs if (pair.set, pair.second) == (name, view.full.name)]
        if told := " ".join(_changes(found)):
            said.append(start + told)
    return tuple(said)


def side(low: float, high: float) -> Side:
    """Where an interval of a gain lies against zero."""
    return "above" if low > 0 else "below" if high < 0 else "open"


def gain(who: str, against: str, value: float, low: float, high: float) -> str:
    """A relative reduction with its interval as a sentence: a gain, a loss, or an open question."""
    where = side(low, high)
    if where == "open":
        ends = f"[{percent(low, 1)}, {percent(high, 1)}]"
        return (
            f"Whether {_lower(who)} makes fewer word errors {against} is open: {percent(value, 1)} % {ends},"
            " an interval that holds zero."
        )
    fewer = where == "above"
    # a loss is told as what came on top, so its ends change their places
    shown = (value, low, high) if fewer else (-value, -high, -low)
    size, start, end = (percent(number, 1) for number in shown)
    return f"{who} makes {size} % [{start}, {end}] {'fewer' if fewer else 'more'} word errors {against}, clear of zero."


def beyond_ngram(value: float, low: float, high: float) -> str:
    """What the networks add to the n-gram model, a relative reduction with its interval, as a sentence."""
    where = side(low, high)
    shown = (-value, -high, -low) if where == "below" else (value, low, high)
    size, start, end = (percent(number, 1) for number in shown)
    if where == "open":
        told = f"{size} % fewer word errors [{start}, {end}], an interval that holds zero"
        return f"Whether the network adds anything beyond the n-gram model is open: {told}."
    if where == "below":
        return f"The network does harm beside the n-gram model: {size} % [{start}, {end}] more errors, clear of zero."
    return f"The network adds {size} % [{start}, {end}] beyond the n-gram model, clear of zero."


def _whole(run: RescoreRun, found: WordErrors) -> Iterable[str]:
    own = found.ways[found.way]
    reduction: Reduction = widest(own.reduction)
    if reduction.relative is None or reduction.relative_low is None or reduction.relative_high is None:
        yield "the first pass makes no error, so there is nothing to gain."
        return
    rates = f"({percent(found.wer_first_pass)} % to {percent(own.wer)} %)"
    who = f"{run.group} ({way_of(run, found.way)})"
    against = f"than the first pass {rates}"
    yield gain(who, against, reduction.relative, reduction.relative_low, reduction.relative_high)
    room = found.errors_first_pass - found.errors_oracle
    if room > 0:
        done = (found.errors_first_pass - own.errors) / room
        yield f"That is {percent(done, 0)} % of what a perfect choice among these hypotheses would mend."


def _network(run: RescoreRun, found: WordErrors) -> Iterable[str]:
    """What the networks add to the n-gram model, and what the scorer does alone."""
    beyond = found.ways[found.way].reduction_over_ngram
    if beyond is not None:
        own: Reduction = widest(beyond)
        if own.relative is not None and own.relative_low is not None and own.relative_high is not None:
            yield beyond_ngram(own.relative, own.relative_low, own.relative_high)
    alone = found.ways.get("scorer")
    if alone is not None and found.way != "scorer":
        own = widest(alone.reduction)
        if own.relative is not None and own.relative_low is not None and own.relative_high is not None:
            yield gain("The scorer alone", "than the first pass", own.relative, own.relative_low, own.relative_high)


def _against(pair: GroupPair) -> str:
    """A group against full fine-tuning."""
    own = pair.change
    told = verdict(pair)
    test = "" if pair.p_holm is None else f"; matched-pairs test, Holm p {p_value(pair.p_holm)}"
    start = f"{pair.first} against full fine-tuning ({pair.second}): "
    size = f"{abs(100 * own.reduction):.2f} points {'more' if own.reduction < 0 else 'fewer'} word errors"
    if told == "no difference shown":
        ends = f"95 % interval of the gain {100 * own.low:+z.2f} to {100 * own.high:+z.2f}"
        bound = f"at most {-100 * own.low:.2f} points worse" if own.low < 0 else "not worse"
        return f"{start}no difference is shown ({size}, {ends}{test}); by that interval it is {bound}."
    ends = " to ".join(f"{100 * end:.2f}" for end in sorted([abs(own.low), abs(own.high)]))
    return f"{start}{size}, 95 % interval {ends}{test}."


def _changes(found: WordErrors) -> Iterable[str]:
    told = found.changes
    if told is not None:
        yield (
            f"The choice differs from the first hypothesis in {told.changed:,} of {told.utterances:,} utterances:"
            f" {told.better:,} have fewer errors, {told.worse:,} more, {told.equal:,} as many. {told.mended:,} words"
            f" were mended and {told.broken:,} broken."
        )
    curve = found.curve
    if curve is not None and curve.errors > curve.least:
        lost = curve.errors - curve.least
        yield (
            f"Choosing the weight on dev costs {lost:,} word errors ({100 * lost / found.words:.2f} points) against the"
            " best weight for this set, which nobody may know."
        )


def _lower(text: str) -> str:
    return text[0].lower() + text[1:] if text.startswith("The ") else text
