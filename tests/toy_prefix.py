"""Toy prefix models: a tiny base, tasks that it can read, and questions about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from toy import WORDS, toy_base
from toy_understanding import toy_example, toy_task
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.prompt import build_prompt
from tunelet.data.understanding.regimes import LabelMap
from tunelet.data.understanding.task import UnderstandingExample, UnderstandingTask
from tunelet.models.bases import Base, load_base
from tunelet.models.settings import ModelSettings


def base_in(folder: Path, **options: int) -> Base:
    """A tiny BERT as a base."""
    return load_base(ModelSettings(base=str(toy_base(folder, **options)), max_length=128))


def texts(count: int, seed: int = 0) -> list[str]:
    """Different texts that the toy tokenizer knows, of one to seven words."""
    draw, found = np.random.default_rng(seed), dict[str, None]()
    while len(found) < count:
        found[" ".join(draw.choice(WORDS, int(draw.integers(1, 8))))] = None
    return list(found)


def single() -> UnderstandingTask:
    """Three classes, one for each input."""
    return toy_task("home", "work", "dog")


def several(none: str | None = "none") -> UnderstandingTask:
    """Two classes, any number for each input."""
    return toy_task("rain", "sun", multi_label=True, none=none)


def questions(count: int = 8, *, seed: int = 0, shown: int = 2) -> list[Asked]:
    """Questions of both tasks in turn; the first has no demonstration, the others up to `shown`."""
    draw, said, made = np.random.default_rng(seed), texts(count * (shown + 1), seed), []
    for number in range(count):
        task = several() if number % 2 else single()
        mine = said[number * (shown + 1) : (number + 1) * (shown + 1)]
        examples = [_example(task, f"{number}-{i}", text, draw) for i, text in enumerate(mine)]
        order = draw.permutation(len(task.labels)).tolist()
        names = LabelMap(task.label_names, tuple(task.label_names[i] for i in order))
        prompt = build_prompt(task, examples[0], examples[1 : 1 + number % (shown + 1)], names=names, order=order)
        made.append(Asked(task, prompt, examples[0]))
    return made


def spoken(text: str = "") -> Asked:
    """A question whose query is speech."""
    query = UnderstandingExample("s", text, ("dog",), "test")
    prompt = build_prompt(single(), query, [toy_example(1, "we felt low", "work")], speech=True)
    return Asked(single(), prompt, query)


def _example(task: UnderstandingTask, name: str, text: str, draw: np.random.Generator) -> UnderstandingExample:
    count = int(draw.integers(0, len(task.labels) + 1)) if task.multi_label else 1
    chosen = draw.permutation(len(task.labels))[:count]
    return UnderstandingExample(name, text, task.canonical(task.label_names[i] for i in chosen), "train")
