"""What a person should hear about an audited dataset, in sentences. Not here: the counting (`data.audit`).

Severities: ``error``, results would mean little; ``warning``, results are touched, and a report should say so;
``info``, good to know. None of them stops a run. The limits below are ours.

Example:
    >>> Finding("info", "always guessing 'joy' is right for 695 of 2000 texts of test (34.8 %)").severity
    'info'
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from tunelet.data.audit_counts import Counts, SplitAudit

#: A label with fewer examples than this in the first split is told.
TINY = 20
#: So many times the examples of the rarest label has the most frequent one, before it is told.
IMBALANCE = 5
#: Total variation distance between the label shares of two splits, above which it is told.
SHIFT = 0.1

Severity = Literal["error", "warning", "info"]
_ORDER: tuple[Severity, ...] = ("error", "warning", "info")


class Finding(NamedTuple):
    """One sentence, and how much it matters."""

    severity: Severity
    message: str


def find(audit: Counts) -> list[Finding]:
    """Every finding of an audit, the worst first."""
    found = [*_sizes(audit), *_overlaps(audit), *_repeats(audit), *_labels(audit), *_shifts(audit), *_baselines(audit)]
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))


def _sizes(audit: Counts) -> Iterator[Finding]:
    for split in audit.splits:
        if not split.examples:
            yield Finding("error", f"{split.name} has no examples")
        if split.empty:
            yield Finding("warning", f"{_texts(split.empty)} of {split.name} hold no visible character")


def _overlaps(audit: Counts) -> Iterator[Finding]:
    names = [split.name for split in audit.splits]
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            shared = audit.shared(first, second)
            if shared:
                size = audit.splits[names.index(second)].examples
                verb = "stands" if shared == 1 else "stand"
                yield Finding(
                    "warning",
                    f"{_texts(shared)} of {second} also {verb} in {first}: on {_share(shared, size)} of {second} "
                    "a model can score by memory",
                )


def _repeats(audit: Counts) -> Iterator[Finding]:
    for split in audit.splits:
        repeated = audit.repeated_within(split.name)
        conflicting = audit.conflicting_within(split.name)
        if repeated:
            message = (
                f"{_texts(repeated)} of {split.name} {'stands' if repeated == 1 else 'stand'} there more than once"
            )
            if conflicting:
                message += f", {conflicting} of them with different labels: no model can get those right"
            yield Finding("warning" if conflicting else "info", message)


def _labels(audit: Counts) -> Iterator[Finding]:
    if not audit.splits:
        return
    first = audit.splits[0]
    for label, count in first.by_label.items():
        asked = [split.name for split in audit.splits[1:] if split.by_label[label]]
        if not count:
            told = f", but {' and '.join(asked)} ask for it" if asked else ""
            yield Finding("error" if asked else "warning", f"{first.name} has no example of {label!r}{told}")
        elif count < TINY:
            yield Finding("warning", f"{first.name} has only {count} examples of {label!r}")
    for split in audit.splits[1:]:
        absent = [repr(label) for label, count in split.by_label.items() if not count and first.by_label[label]]
        if absent and split.examples:
            yield Finding("warning", f"{split.name} has no example of {', '.join(absent)}: scores say nothing about it")
    counts = {label: count for label, count in first.by_label.items() if count}
    if counts and max(counts.values()) > IMBALANCE * min(counts.values()):
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        yield Finding(
            "info",
            f"labels are uneven in {first.name}: {counts[most]} times {most!r}, {counts[least]} times {least!r}; "
            "look at macro F1 beside accuracy",
        )


def _shifts(audit: Counts) -> Iterator[Finding]:
    for split in audit.splits[1:]:
        distance = _distance(audit.splits[0], split)
        if distance > SHIFT:
            yield Finding(
                "warning",
                f"labels have other shares in {split.name} than in {audit.splits[0].name} "
                f"({100 * distance:.0f} % would have to change)",
            )


def _baselines(audit: Counts) -> Iterator[Finding]:
    guess = ", ".join(map(repr, audit.majority)) or "no label"
    for split in audit.splits[1:]:
        if split.examples:
            yield Finding(
                "info",
                f"always guessing {guess} is right for {split.majority_correct} of {split.examples} texts of "
                f"{split.name} ({_share(split.majority_correct, split.examples)})",
            )


def _distance(first: SplitAudit, second: SplitAudit) -> float:
    totals = sum(first.by_label.values()), sum(second.by_label.values())
    if not all(totals):
        return 0.0
    return 0.5 * sum(
        abs(first.by_label[name] / totals[0] - second.by_label[name] / totals[1]) for name in first.by_label
    )


def _texts(count: int) -> str:
    return "1 text" if count == 1 else f"{count} texts"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"
