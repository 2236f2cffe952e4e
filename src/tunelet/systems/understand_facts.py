"""What an `understand` sweep says of its data in files. Not here: runs (`systems.understand`).

Example:
    >>> data_facts(data)["evaluated"]                           # doctest: +SKIP
    ['trec6', 'snips']
"""

from __future__ import annotations

from typing import Any

from tunelet.data.audit import comparable
from tunelet.systems.understand_data import TaskExamples, UnderstandData

#: fewer test examples of a class than this are told
FEW = 5


def data_facts(data: UnderstandData) -> dict[str, Any]:
    """The key ``data`` of result.json."""
    every = [told.sizes for told in data.tasks.values()]
    return {
        "task": ", ".join(data.tasks),
        "source": {
            "kind": "tasks",
            "location": ", ".join(dict.fromkeys(told.task.data.path for told in data.tasks.values())),
        },
        "splits": {split: sum(sizes[split] for sizes in every) for split in ("train", "validation", "test")},
        "sha256": data.sha256,
        "sources": list(data.sources),
        "evaluated": list(data.asked),
        "k": list(data.settings.k),
        "items": data.settings.items,
        "query": list(data.settings.query),
        "cascade": data.settings.cascade,
        "tasks": {name: task_facts(told) for name, told in data.tasks.items()},
    }


def task_facts(told: TaskExamples) -> dict[str, Any]:
    """One task of the key ``data``."""
    task = told.task
    return {
        "title": task.title,
        "labels": list(task.label_names),
        "definitions": [label.definition for label in task.labels],
        "multi_label": task.multi_label,
        "none": task.none,
        "metric": task.metric,
        "sha256": told.sha256,
        "location": task.data.path,
        "splits": told.sizes,
        "spoken": sum(one.audio is not None for one in told.test),
        "heard": sum(one.heard is not None for one in told.test),
    }


def audit_of(data: UnderstandData) -> dict[str, Any]:
    """What is odd in the data: texts of test that may be met before, classes that are hardly there."""
    findings = []
    for name, told in data.tasks.items():
        known = {comparable(one.text) for part in (told.train, told.validation, told.pool) for one in part}
        again = sum(comparable(one.text) in known for one in told.test)
        if again:
            message = f"{name}: {again:,} of {len(told.test):,} test texts also stand in train or validation"
            findings.append({"severity": "warning", "message": f"{message}; none is shown before itself"})
        if told.test:
            counts = {label: 0 for label in told.task.label_names}
            for one in told.test:
                for label in one.labels:
                    counts[label] += 1
            rare = [f"{label} ({count})" for label, count in counts.items() if count < FEW]
            if rare:
                message = f"{name}: classes with fewer than {FEW} test examples: {', '.join(rare)}"
                findings.append({"severity": "warning", "message": message})
    return {"findings": findings, "tasks": {name: task_facts(told) for name, told in data.tasks.items()}}
