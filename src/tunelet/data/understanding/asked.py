"""What a model is asked: a prompt, with the task that it tells and the example that is its query. Not here: answers.

Example:
    >>> from tunelet.data.understanding.prompt import build_prompt
    >>> from tunelet.data.understanding.task import UnderstandingExample
    >>> from tunelet.data.understanding.tasks import find_task
    >>> query = UnderstandingExample("0", "What a day!", ("positive",))
    >>> asked = Asked(find_task("meld"), build_prompt(find_task("meld"), query), query)
    >>> asked.classes, asked.gold
    (3, (0,))
"""

from __future__ import annotations

from dataclasses import dataclass

from tunelet.data.understanding.prompt import Prompt
from tunelet.data.understanding.task import UnderstandingExample, UnderstandingTask


@dataclass(frozen=True)
class Asked:
    """One question to a model.

    Attributes:
        task: what is asked for; `prompt.names` says under which names its classes are shown.
        prompt: what the model reads.
        query: the example at its end; its sound, where the prompt has a place for speech.
    """

    task: UnderstandingTask
    prompt: Prompt
    query: UnderstandingExample

    @property
    def classes(self) -> int:
        """C, how many classes the task has; the answer for no class is not counted."""
        return len(self.task.labels)

    @property
    def gold(self) -> tuple[int, ...]:
        """Positions of the query's classes in canonical order."""
        return tuple(self.task.positions[name] for name in self.prompt.labels)
