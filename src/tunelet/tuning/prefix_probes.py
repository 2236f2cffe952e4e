"""Two questions and what a prefix model scores: the last check that a loaded model is the one that was saved.

Example:
    >>> run_prefix_probes(model)[0].logits                                              # doctest: +SKIP
    (4.21, 1.03)
"""

from __future__ import annotations

from typing import Any

from tunelet.data.records import Label
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.prompt import build_prompt
from tunelet.data.understanding.task import TaskData, UnderstandingExample, UnderstandingTask
from tunelet.tuning.probes import PROBE_TEXTS, Probe

_TASK = UnderstandingTask(
    "probe",
    "Probe",
    "Say what the sentence speaks of.",
    (Label("people", "what somebody feels or does"), Label("weather", "sun, rain, wind or the time of year")),
    TaskData("probe"),
)
_SHOWN = (UnderstandingExample("shown", "the rain did not stop before night", ("weather",), "train"),)


def run_prefix_probes(model: Any) -> tuple[Probe, ...]:
    """Scores of both classes for each text, one demonstration shown."""
    queries = [UnderstandingExample(str(i), text, ()) for i, text in enumerate(PROBE_TEXTS)]
    asked = [Asked(_TASK, build_prompt(_TASK, query, _SHOWN), query) for query in queries]
    answers = model.answer(asked)
    return tuple(
        Probe(text=query.text, logits=tuple(answer.scores.tolist()))
        for query, answer in zip(queries, answers, strict=True)
    )
