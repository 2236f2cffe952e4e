"""Robustness of the groups of a `rescore` sweep, and how they differ. Not here: words and tables
(`rescore_robustness`), how a run is measured (`systems.rescore_robustness`).

A number of a group with several runs is the mean over its training seeds of the mean over the perturbation's seeds,
with a t interval over the training seeds; of a single run the interval is over the perturbation's seeds. Differences
are paired: the same lists, the same replaced words, the same training seeds; what is drawn again are speakers, where
they are known, else utterances.

Example:
    >>> groups = strategies(view)                                                       # doctest: +SKIP
    >>> groups[0].estimate("test-clean", groups[0].way, "all", 0.3, rd).mean            # doctest: +SKIP
    0.61
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunelet.base.errors import DamagedFileError
from tunelet.data.perturb import Which
from tunelet.evaluation.robustness import Degradation, Robustness, relative_degradation
from tunelet.evaluation.robustness_difference import RdDifference, compare_robustness
from tunelet.evaluation.robustness_rows import Measured, read_measured
from tunelet.evaluation.statistics import Interval, holm, seed_interval
from tunelet.report.groups import Estimate
from tunelet.report.rescore_robustness_schema import Perturbation, WayRobustness
from tunelet.report.rescore_schema import RescoreRun
from tunelet.report.rescore_view import View

#: the way that is a control: hypothesis 1, whatever the words
FIRST_PASS = "first_pass"
#: method that the others are compared with
VANILLA = "lora"
WHICH: tuple[Which, ...] = ("first", "all")

Quantity = Callable[[Perturbation], float | None]


def rd(row: Perturbation) -> float | None:
    """Relative rise of the word errors of the choice."""
    return relative_degradation(row.errors_before, row.errors_after)


def rd_oracle(row: Perturbation) -> float | None:
    """Relative rise of the word errors of the best hypotheses."""
    return relative_degradation(row.oracle_before, row.oracle_after)


def excess(row: Perturbation) -> float | None:
    """RD above that of the first pass."""
    own, first = rd(row), relative_degradation(row.first_pass_before, row.first_pass_after)
    return None if own is None or first is None else own - first


def share_replaced(row: Perturbation) -> float | None:
    """Replaced words among all of the hypotheses in S."""
    return row.replaced / row.hypothesis_words if row.hypothesis_words else 0.0


def share_changed(row: Perturbation) -> float | None:
    """Lists with another choice."""
    return row.changed / row.lists if row.lists else None


def tau(row: Perturbation) -> float | None:
    """Kendall's tau-b of the scores."""
    return row.tau


def wer_before(row: Perturbation) -> float | None:
    """Word error rate before, on the lists that were perturbed."""
    return row.errors_before / row.words if row.words else None


def oracle_before(row: Perturbation) -> float | None:
    """The same of the best hypotheses."""
    return row.oracle_before / row.words if row.words else None


@dataclass(frozen=True)
class Strategy:
    """A group of runs that were measured.

    Attributes:
        name, method: of the group.
        way: what its runs report.
        runs: by training seed.
    """

    name: str
    method: str
    way: str
    runs: tuple[RescoreRun, ...]

    def rows(self, name: str, way: str, which: Which, p: float) -> list[WayRobustness]:
        """What each run says of a way of a set at S and p; runs without it are left out."""
        return [
            one
            for run in self.runs
            if run.robustness is not None and name in run.robustness.sets
            for one in run.robustness.sets[name].ways.get(way, [])
            if (one.which, one.p) == (which, p)
        ]

    def estimate(self, name: str, way: str, which: Which, p: float, quantity: Quantity) -> Estimate | None:
        """A quantity over the group's runs; None if it is not defined somewhere."""
        rows = self.rows(name, way, which, p)
        values = [[quantity(row) for row in one.rows] for one in rows]
        told = [[value for value in own if value is not None] for own in values]
        if not told or any(len(own) < len(whole) for own, whole in zip(told, values, strict=True)):
            return None
        # one run: how the draw of the words matters; several: how training does
        numbers = told[0] if len(told) == 1 else [sum(own) / len(own) for own in told]
        # what no seed changes has no interval
        return Estimate(tuple(numbers), seed_interval(numbers) if len(set(numbers)) > 1 else None)


@dataclass(frozen=True)
class Comparison:
    """A strategy against vanilla LoRA on one set, at one S and p.

    Attributes:
        set, which, p: what was perturbed.
        strategy, against: names of the groups.
        seeds: training seeds that both have.
        difference: of RD, the strategy's minus the other's: above 0, the strategy degrades more.
        over_seeds: t interval of the difference over training seeds; None for one.
        holm: its p-value, adjusted for all comparisons of the report.
    """

    set: str
    which: Which
    p: float
    strategy: str
    against: str
    seeds: tuple[int, ...]
    difference: RdDifference
    over_seeds: Interval | None
    holm: float = 1.0

    @property
    def side(self) -> str:
        """On which side of 0 the bootstrap interval lies: "worse", "better", or "" where it reaches over 0."""
        if self.difference.low > 0:
            return "worse"
        return "better" if self.difference.high < 0 else ""

    @property
    def verdict(self) -> str:
        """In a word, where the interval and the p-value that is corrected for all comparisons agree."""
        return self.side if self.side and self.holm < 0.05 else "no difference shown"


def strategies(view: View) -> tuple[Strategy, ...]:
    """The groups with runs that were measured, in the order of the report."""
    found = []
    for group in view.groups:
        runs = tuple(run for run in group.runs if run.robustness is not None)
        if runs:
            found.append(Strategy(group.name, group.method, runs[0].metrics["dev"].way, runs))
    return tuple(found)


def compared(groups: Sequence[Strategy], folder: Path) -> tuple[tuple[Comparison, ...], str]:
    """Every other strategy against vanilla LoRA, and why there is none, or "".

    Args:
        groups: as `strategies` gives them.
        folder: of the sweep; the errors of each list stand in the runs' folders.
    """
    vanilla = next((group for group in groups if group.method == VANILLA), None)
    others = [group for group in groups if group.method != "none" and group is not vanilla]
    if vanilla is None or not others:
        return (), f"There is no group with the method {VANILLA} and another beside it, so nothing is compared."
    told = [robustness for run in vanilla.runs if (robustness := run.robustness) is not None]
    found: list[Comparison] = []
    try:
        for name in told[0].sets:
            for p in told[0].p:
                for which in WHICH:
                    rows = [_compare(other, vanilla, name, which, p, folder) for other in others]
                    found += [row for row in rows if row is not None]
    except (DamagedFileError, KeyError) as error:
        return (), f"Nothing is compared, because the errors of single lists cannot be read: {error}"
    adjusted = holm([row.difference.p for row in found]) if found else ()
    return tuple(
        Comparison(**{**vars(row), "holm": p}) for row, p in zip(found, adjusted, strict=True)
    ), "" if found else "No run of another group has a training seed of vanilla LoRA's."


def _compare(other: Strategy, vanilla: Strategy, name: str, which: Which, p: float, folder: Path) -> Comparison | None:
    """One comparison over the training seeds that both have; None if there is none, or RD is not defined."""
    pairs = [(a, b) for a in other.runs for b in vanilla.runs if a.seed == b.seed]
    if not pairs or other.way != vanilla.way:
        return None
    both: tuple[list[Degradation], list[Degradation]] = [], []
    single: list[float] = []
    speakers: tuple[str | None, ...] = ()
    for runs in pairs:
        parts = [_measured(run, name, which, p, folder) for run in runs]
        if len({one.ids for several in parts for one in several}) != 1:
            raise DamagedFileError(f"{runs[0].name} and {runs[1].name} were measured on other lists")
        speakers = parts[0][0].speakers
        rows = [[one.ways[other.way] for one in several] for several in parts]
        for side, own in zip(both, rows, strict=True):
            side.extend(own)
        single.append(_rd(rows[0]) - _rd(rows[1]))
    if not all(sum(row.errors_before for row in side) for side in both):
        return None
    by_speaker = speakers if None not in speakers and len(set(speakers)) > 1 else None
    difference = compare_robustness(
        Robustness(which, p, tuple(both[0])), Robustness(which, p, tuple(both[1])), seed=1, speakers=by_speaker
    )
    seeds = tuple(a.seed for a, _ in pairs)
    return Comparison(name, which, p, other.name, vanilla.name, seeds, difference, seed_interval(single))


def _measured(run: RescoreRun, name: str, which: Which, p: float, folder: Path) -> list[Measured]:
    seeds = run.robustness.seeds if run.robustness is not None else []
    stem = folder / run.folder / "robustness" / f"{name}-{which}-p{p:g}"
    return [read_measured(stem.with_name(f"{stem.name}-seed{seed}.json")) for seed in seeds]


def _rd(rows: Sequence[Degradation]) -> float:
    """RD of the errors summed over seeds; 0 where there was none."""
    before, after = sum(row.errors_before for row in rows), sum(row.errors_after for row in rows)
    return relative_degradation(before, after) or 0.0
