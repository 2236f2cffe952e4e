"""What homophones in its input do to a rescorer: RD, 1-best robustness, NPRR. Not here: the replacing (`data.perturb`).

Our definition; the paper's is not known to us. With π(S, p) of `data.perturb`,

    RD(S)               = (WER after - WER before) / WER before
    1-best robustness   = RD({1}),      NPRR = RD({1 ... N})

The rescorer scores the perturbed texts again; first-pass scores and weights stay. RD alone misleads, because replacing
words of a list also takes the right answer out of it. So beside it stand, always: the oracle of the perturbed list; the
degradation of the first pass alone (its choice is hypothesis 1, whatever the words); the excess over that; the share of
words replaced; the share of lists whose choice (the index) changed; and Kendall's τ-b of the scores before and after.

A rescorer is any function from lists to a final score s_i for each hypothesis.

Example:
    >>> from tunelet.data.homophones import Homophones
    >>> from tunelet.data.nbest import Hypothesis, NBest
    >>> sounds = Homophones((("sea", "see"),), {"sea": "S IY1", "see": "S IY1"}, 1.0, 100)
    >>> heard = NBest("a", (Hypothesis("the sea", -1.0), Hypothesis("a fee", -2.0)), ref="a sea")
    >>> found = nprr([heard], lambda lists: [one.scores for one in lists], sounds, 1.0, seeds=[1])
    >>> found.rows[0].rd, found.rows[0].rd_first_pass, found.rows[0].excess
    (1.0, 1.0, 0.0)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from tunelet.base.errors import InputError
from tunelet.data.homophones import Homophones
from tunelet.data.nbest import NBest
from tunelet.data.normalise import Normaliser, normaliser
from tunelet.data.perturb import Perturbed, Which, perturb
from tunelet.evaluation.probabilities import Floats, Ints
from tunelet.evaluation.rank_agreement import kendall
from tunelet.evaluation.statistics import Interval, seed_interval
from tunelet.evaluation.transcripts import ErrorTable, error_table, padded

#: Lists to the final score of each hypothesis, list by list.
Rescorer = Callable[[Sequence[NBest]], Sequence[Sequence[float]]]


@dataclass(frozen=True)
class Degradation:
    """What one perturbation did, as counts.

    Attributes:
        which, p, seed: of the perturbation.
        lists, words: utterances, and words of their references.
        errors_before, errors_after: of the rescorer's choices.
        first_pass_before, first_pass_after: errors of hypothesis 1.
        oracle_before, oracle_after: errors of the best hypothesis.
        hypothesis_words, replaceable, replaced: words of the hypotheses in S; with a homophone; replaced.
        changed: lists in which the rescorer chose another hypothesis (by index).
        tau: mean of Kendall's τ-b over lists; None if no list has two different scores before and after.
        tau_lists: how many lists that mean is of.
        each_before, each_after: errors of each list, (U,), for paired tests.
    """

    which: Which
    p: float
    seed: int
    lists: int
    words: int
    errors_before: int
    errors_after: int
    first_pass_before: int
    first_pass_after: int
    oracle_before: int
    oracle_after: int
    hypothesis_words: int
    replaceable: int
    replaced: int
    changed: int
    tau: float | None
    tau_lists: int
    each_before: Ints = field(repr=False, compare=False)
    each_after: Ints = field(repr=False, compare=False)

    @property
    def rd(self) -> float | None:
        """RD of the rescorer; None if it made no error before."""
        return relative_degradation(self.errors_before, self.errors_after)

    @property
    def rd_first_pass(self) -> float | None:
        """RD of the first pass alone; None if it made no error before."""
        return relative_degradation(self.first_pass_before, self.first_pass_after)

    @property
    def excess(self) -> float | None:
        """RD of the rescorer above that of the first pass; None if either is."""
        return None if self.rd is None or self.rd_first_pass is None else self.rd - self.rd_first_pass

    @property
    def share_replaced(self) -> float:
        """Replaced words among all words of the hypotheses in S."""
        return self.replaced / self.hypothesis_words if self.hypothesis_words else 0.0

    @property
    def share_changed(self) -> float:
        """Lists whose choice changed among all."""
        return self.changed / self.lists

    def rates(self) -> dict[str, float]:
        """The word error rates of the six error counts, by their names."""
        names = ("errors", "first_pass", "oracle")
        counts = {f"{name}_{when}": getattr(self, f"{name}_{when}") for name in names for when in ("before", "after")}
        return {name: count / self.words for name, count in counts.items()}

    def to_json(self) -> dict[str, object]:
        """The counts by name, and what follows from them; not the errors of each list."""
        values = {name: value for name, value in vars(self).items() if not name.startswith("each_")}
        derived = ("rd", "rd_first_pass", "excess", "share_replaced", "share_changed")
        return {**values, **{name: getattr(self, name) for name in derived}}


@dataclass(frozen=True)
class Robustness:
    """The same perturbation with several seeds.

    Attributes:
        which, p: S and the chance of a replacement.
        rows: one per seed.
        level: coverage of the intervals.
    """

    which: Which
    p: float
    rows: tuple[Degradation, ...]
    level: float = 0.95

    def mean(self, name: str) -> float | None:
        """Mean over seeds of a property or count of `Degradation`; None if it is None for one."""
        values = self._values(name)
        return None if values is None else fmean(values)

    def interval(self, name: str) -> Interval | None:
        """Student's t interval of that mean; None for one seed, too."""
        values = self._values(name)
        return None if values is None else seed_interval(values, level=self.level)

    def to_json(self) -> dict[str, object]:
        """The rows, and mean and interval of each quantity that is a share or a ratio."""
        summary = {}
        for name in ("rd", "rd_first_pass", "excess", "share_replaced", "share_changed", "tau"):
            interval = self.interval(name)
            summary[name] = {"mean": self.mean(name), "interval": interval.to_json() if interval else None}
        rows = [row.to_json() for row in self.rows]
        return {"which": self.which, "p": self.p, "level": self.level, "summary": summary, "rows": rows}

    def _values(self, name: str) -> list[float] | None:
        values = [getattr(row, name) for row in self.rows]
        return None if None in values else [float(value) for value in values]


@dataclass(frozen=True)
class Judged:
    """Lists with the errors and the final score of each hypothesis."""

    table: ErrorTable
    scores: Floats

    @property
    def choice(self) -> Ints:
        """Index of the chosen hypothesis of each list, (U,)."""
        return self.table.choice(self.scores)


def relative_degradation(before: float, after: float) -> float | None:
    """(after - before) / before, of error rates or of errors on the same words; None where nothing was wrong before."""
    return (after - before) / before if before else None


def judge(lists: Sequence[NBest], rescorer: Rescorer, normalise: Normaliser) -> Judged:
    """Score lists and count their errors.

    Raises:
        InputError: a list has no reference, or the rescorer does not give a finite score for each hypothesis.
    """
    table = error_table(lists, normalise)
    return Judged(table, padded(rescorer(lists), table))


def degradation(before: Judged, after: Judged, what: Perturbed) -> Degradation:
    """Compare lists before and after a perturbation.

    Raises:
        InputError: the two do not hold the same lists.
    """
    if before.table.ids != after.table.ids or not np.array_equal(before.table.present, after.table.present):
        raise InputError("before and after a perturbation there must be the same lists in the same order")
    taus = kendall(before.scores, after.scores, before.table.present)
    defined = taus[np.isfinite(taus)]
    first, second = before.choice, after.choice
    each_before, each_after = before.table.errors_of(first), after.table.errors_of(second)
    return Degradation(
        which=what.which,
        p=what.p,
        seed=what.seed,
        lists=len(before.table),
        words=int(before.table.words.sum()),
        errors_before=int(each_before.sum()),
        errors_after=int(each_after.sum()),
        first_pass_before=int(before.table.first_pass.sum()),
        first_pass_after=int(after.table.first_pass.sum()),
        oracle_before=int(before.table.oracle.sum()),
        oracle_after=int(after.table.oracle.sum()),
        hypothesis_words=what.words,
        replaceable=what.replaceable,
        replaced=what.replaced,
        changed=int((first != second).sum()),
        tau=float(defined.mean()) if len(defined) else None,
        tau_lists=len(defined),
        each_before=each_before,
        each_after=each_after,
    )


def curve(
    lists: Sequence[NBest],
    rescorer: Rescorer,
    homophones: Homophones,
    which: Which,
    ps: Sequence[float],
    seeds: Sequence[int],
    *,
    normalise: Normaliser | None = None,
    level: float = 0.95,
) -> tuple[Robustness, ...]:
    """Measure the degradation at several p, each with several seeds; the lists as they are, are scored once.

    Args:
        lists: with references.
        rescorer: gives final scores; called once for the lists and once for each p and seed.
        which: "first" or "all".
        ps: chances of a replacement, each 0 ... 1.
        seeds: at least one; they change the words that are replaced, nothing else.
        normalise: of reference and hypothesis; None: that of LibriSpeech.

    Raises:
        InputError: no seed, or what `judge` and `perturb` refuse.
    """
    if not seeds or not ps:
        raise InputError("robustness needs at least one p and one seed")
    normalise = normalise or normaliser("librispeech")
    before = judge(lists, rescorer, normalise)
    found = []
    for p in ps:
        rows = []
        for seed in seeds:
            what = perturb(lists, homophones, which, p, seed)
            rows.append(degradation(before, judge(what.lists, rescorer, normalise), what))
        found.append(Robustness(which, p, tuple(rows), level))
    return tuple(found)


def one_best_robustness(
    lists: Sequence[NBest],
    rescorer: Rescorer,
    homophones: Homophones,
    p: float,
    seeds: Sequence[int],
    *,
    normalise: Normaliser | None = None,
    level: float = 0.95,
) -> Robustness:
    """RD({1}): words are replaced in the first hypothesis alone. See `curve`."""
    return curve(lists, rescorer, homophones, "first", [p], seeds, normalise=normalise, level=level)[0]


def nprr(
    lists: Sequence[NBest],
    rescorer: Rescorer,
    homophones: Homophones,
    p: float,
    seeds: Sequence[int],
    *,
    normalise: Normaliser | None = None,
    level: float = 0.95,
) -> Robustness:
    """RD({1 ... N}): words are replaced in all hypotheses, each for itself. See `curve`."""
    return curve(lists, rescorer, homophones, "all", [p], seeds, normalise=normalise, level=level)[0]
