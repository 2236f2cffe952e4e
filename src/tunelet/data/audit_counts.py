"""What an audit of a dataset counts. Not here: the counting (`data.audit`), and what a person should hear of it
(`data.findings`).

Example:
    >>> Occurrence("train", "7", ("joy",)).split
    'train'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Lengths:
    """Lengths of a split's texts, in characters and in words: the quantiles `data.audit.QUANTILES` (nearest rank)."""

    characters: tuple[int, ...]
    words: tuple[int, ...]


@dataclass(frozen=True)
class SplitAudit:
    """One split.

    Attributes:
        name: of the split.
        examples: how many.
        by_label: examples that have each label, in the order of the task; in a multi-label task they add up to more.
        unlabelled: examples without any label.
        empty: texts without a visible character (readers refuse them; a dataset made in memory may hold some).
        lengths: quantiles; None for a split without examples.
        majority_correct: how many examples a model would get right that always gives the most frequent label (set of
            labels) of the first split.
    """

    name: str
    examples: int
    by_label: Mapping[str, int]
    unlabelled: int
    empty: int
    lengths: Lengths | None
    majority_correct: int


@dataclass(frozen=True)
class Occurrence:
    """One place where a text stands."""

    split: str
    id: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class RepeatedText:
    """A text that stands at two or more places, as it is written at the first of them."""

    text: str
    places: tuple[Occurrence, ...]

    def within(self, split: str) -> tuple[Occurrence, ...]:
        """Its places in one split."""
        return tuple(place for place in self.places if place.split == split)


@dataclass(frozen=True)
class Counts:
    """What is counted of a dataset.

    Attributes:
        task: name of the task.
        multi_label: as in the task.
        splits: one entry for each.
        repeated: every text that stands at two or more places, in the order of their first place.
        majority: the labels of the constant guess behind `SplitAudit.majority_correct`.
    """

    task: str
    multi_label: bool
    splits: tuple[SplitAudit, ...]
    repeated: tuple[RepeatedText, ...]
    majority: tuple[str, ...]

    def repeated_within(self, split: str) -> int:
        """Number of different texts that stand more than once in `split`."""
        return sum(len(text.within(split)) > 1 for text in self.repeated)

    def conflicting_within(self, split: str) -> int:
        """Number of different texts that stand in `split` with two or more different labellings."""
        return sum(len({place.labels for place in text.within(split)}) > 1 for text in self.repeated)

    def shared(self, first: str, second: str) -> int:
        """Number of examples of `second` whose text also stands in `first`."""
        return sum(len(text.within(second)) for text in self.repeated if text.within(first))
