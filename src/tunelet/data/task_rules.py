"""What holds for every task, wherever it was written down. Not here: where it was written (`data.task_file`, recipes).

Example:
    >>> from tunelet.data.records import Label, Task
    >>> task_faults(Task("t", "", (Label("a"), Label("a"))))
    [('labels', "the label 'a' is named twice")]
"""

from __future__ import annotations

import re

from tunelet.data.records import Task

#: Scores that a single-label or a multi-label task may be about, as `tunelet.evaluation` names them.
METRICS: dict[bool, tuple[str, ...]] = {
    False: ("accuracy", "macro_f1", "weighted_f1", "mcc"),
    True: ("accuracy", "micro_f1", "macro_f1", "weighted_f1"),  # accuracy: all labels of a text right at once
}

# A task's name is also the name of a folder.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def task_faults(task: Task) -> list[tuple[str, str]]:
    """What is wrong with a task, as pairs of a key and a sentence."""
    faults = []
    if not _NAME.fullmatch(task.name):
        faults.append(("name", f"the name {task.name!r} has to be made of letters, digits, '_', '-' and '.'"))
    names = task.label_names
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        faults.append(("labels", f"the label {name!r} is named twice"))
    for name in names:
        if not name.strip() or name != name.strip() or any(ord(character) < 32 for character in name):
            faults.append(("labels", f"the label {name!r} has to begin and end with a visible character"))
        elif "|" in name:
            faults.append(("labels", f"the label {name!r} holds '|', which separates labels in tables"))
    least = 1 if task.multi_label else 2
    if len(names) < least:
        faults.append(("labels", f"expected at least {least}, found {len(names)}"))
    if task.metric not in METRICS[task.multi_label]:
        kind = "multi-label" if task.multi_label else "single-label"
        options = ", ".join(METRICS[task.multi_label])
        faults.append(("metric", f"unknown metric {task.metric!r} of a {kind} task, expected one of {options}"))
    return faults
