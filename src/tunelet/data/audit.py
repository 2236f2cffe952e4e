"""What a dataset is like, told before anything is trained on it. Not here: mending it; a finding changes nothing.

Two texts count as the same if they are equal after Unicode NFKC, case folding and collapsing of white space, so
"Great!" and "great! " are one text. (In the Emotion data this finds the same repeats as plain equality.)

Example:
    >>> audit(dataset).findings[0]                                                      # doctest: +SKIP
    Finding(severity='warning', message='11 texts of test also stand in train: ...')
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tunelet.data.audit_counts import Counts, Lengths, Occurrence, RepeatedText, SplitAudit
from tunelet.data.findings import Finding, find
from tunelet.data.records import Dataset, TextExample

#: Quantiles of the lengths that an audit keeps.
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
#: How many repeated texts go into the JSON; all are counted.
LISTED = 200


@dataclass(frozen=True)
class Audit(Counts):
    """What `audit` found; everything that it tells is counted from these."""

    @cached_property
    def findings(self) -> list[Finding]:
        """What a person should know, the worst first."""
        return find(self)

    def to_json(self) -> dict[str, Any]:
        """All counts, the findings, and the first `LISTED` repeated texts with their places."""
        names = [split.name for split in self.splits]
        pairs = [(first, second) for i, first in enumerate(names) for second in names[i + 1 :]]
        return {
            "task": self.task,
            "multi_label": self.multi_label,
            "quantiles": list(QUANTILES),
            "splits": {
                split.name: {
                    **{key: value for key, value in asdict(split).items() if key != "name"},
                    "repeated_texts": self.repeated_within(split.name),
                    "conflicting_texts": self.conflicting_within(split.name),
                }
                for split in self.splits
            },
            "shared": [
                {"first": first, "second": second, "examples_of_second": self.shared(first, second)}
                for first, second in pairs
            ],
            "majority": list(self.majority),
            "repeated": {
                "texts": len(self.repeated),
                "listed": [asdict(text) for text in self.repeated[:LISTED]],
            },
            "findings": [{"severity": finding.severity, "message": finding.message} for finding in self.findings],
        }


def audit(dataset: Dataset) -> Audit:
    """Count what there is to know of a dataset; one pass over it, memory in proportion to its texts."""
    first = next(iter(dataset.splits.values()), ())
    counts = Counter(example.labels for example in first)
    # ties go to the labels that come first in the task
    order = dataset.task.positions
    majority = min(counts, key=lambda labels: (-counts[labels], [order[name] for name in labels]), default=())
    return Audit(
        task=dataset.task.name,
        multi_label=dataset.task.multi_label,
        splits=tuple(
            _split_audit(name, examples, dataset.task.label_names, majority)
            for name, examples in dataset.splits.items()
        ),
        repeated=_repeated(dataset.splits),
        majority=majority,
    )


def comparable(text: str) -> str:
    """A text as repeats are looked for: NFKC, case-folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _split_audit(
    name: str, examples: Sequence[TextExample], labels: Sequence[str], majority: tuple[str, ...]
) -> SplitAudit:
    by_label = Counter(label for example in examples for label in example.labels)
    lengths = None
    if examples:
        lengths = Lengths(
            characters=_quantiles([len(example.text) for example in examples]),
            words=_quantiles([len(example.text.split()) for example in examples]),
        )
    return SplitAudit(
        name=name,
        examples=len(examples),
        by_label={label: by_label[label] for label in labels},
        unlabelled=sum(not example.labels for example in examples),
        empty=sum(not example.text.strip() for example in examples),
        lengths=lengths,
        majority_correct=sum(example.labels == majority for example in examples),
    )


def _quantiles(values: list[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in np.quantile(values, QUANTILES, method="inverted_cdf"))


def _repeated(splits: Mapping[str, Sequence[TextExample]]) -> tuple[RepeatedText, ...]:
    texts: dict[str, list[tuple[str, TextExample]]] = {}
    for split, examples in splits.items():
        for example in examples:
            texts.setdefault(comparable(example.text), []).append((split, example))
    return tuple(
        RepeatedText(
            places[0][1].text, tuple(Occurrence(split, example.id, example.labels) for split, example in places)
        )
        for places in texts.values()
        if len(places) > 1
    )
