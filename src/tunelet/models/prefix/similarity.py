"""What a prompt says about likeness: sentences of its query, definitions and demonstrations, and their cosines.

Everything is taken from the prompt itself, so it is what the model reads: definitions as they are shown, the query's
text where it is text. Not here: what the cosines count (`heads.Matching`), embeddings (`models.sentence_embedder`).

Example:
    >>> from tunelet.data.understanding.prompt import build_prompt
    >>> from tunelet.data.understanding.task import UnderstandingExample
    >>> from tunelet.data.understanding.tasks import find_task
    >>> sentences = sentences_of(build_prompt(find_task("meld"), UnderstandingExample("0", "What a day!", ())))
    >>> sentences.query, sentences.definitions[2]
    ('What a day!', 'the speaker says something matter-of-fact and shows no feeling')
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunelet.data.understanding.prompt import Prompt
from tunelet.models.sentence_embedder import Floats, SentenceEmbedder


@dataclass(frozen=True)
class Sentences:
    """The sentences of a prompt that are compared.

    Attributes:
        query: its text, or None where it is speech.
        definitions: of each class by its position, without the class's name.
        demonstrations: texts in the order of the prompt.
        labels: positions of the classes of each demonstration; the number of classes for none.
    """

    query: str | None
    definitions: dict[int, str]
    demonstrations: tuple[str, ...]
    labels: tuple[frozenset[int], ...]


@dataclass(frozen=True, eq=False)
class Likeness:
    """Cosines of a batch of prompts.

    Attributes:
        definitions: (B, C) of the query with each definition; 0 where a class has none.
        demonstrations: (B, D) of the query with each demonstration; 0 beyond the last.
        shown: (B, D, C) whether a demonstration has the class; false beyond the last.
        there: (B, D) whether there is a demonstration.
    """

    definitions: Floats
    demonstrations: Floats
    shown: NDArray[np.bool_]
    there: NDArray[np.bool_]


def sentences_of(prompt: Prompt) -> Sentences:
    """Take a prompt apart."""
    query, definitions = None, dict[int, str]()
    texts: list[str] = []
    labels: list[frozenset[int]] = []
    for part in prompt.parts:
        inside = [one for one in prompt.occurrences if part.start <= one.start < part.end]
        if part.kind == "definitions":
            for one in inside:
                # a line of its own: "- name: definition"; other names stand inside a definition
                if prompt.text[one.start - 3 : one.start] == "\n- ":
                    end = prompt.text.index("\n", one.end)
                    definitions[one.label] = prompt.text[one.end : end].removeprefix(": ")
        elif part.kind == "demonstration":
            text = prompt.part_text(part)
            texts.append(text[: text.rindex("\nOutput: ")].removeprefix("Text: "))
            labels.append(frozenset(one.label for one in inside))
        elif part.kind == "query" and prompt.speech is None:
            query = prompt.part_text(part).removeprefix("Text: ").removesuffix("\n")
    return Sentences(query, definitions, tuple(texts), tuple(labels))


def likeness(
    found: Sequence[Sentences], classes: Sequence[int], embedder: SentenceEmbedder, heard: Sequence[Floats | None]
) -> Likeness:
    """Cosines of prompts.

    Args:
        classes: C of each prompt.
        heard: (H,) the embedding of the query of a prompt without a text, of length one.
    """
    wanted = [text for one in found for text in (one.query or "", *one.definitions.values(), *one.demonstrations)]
    rows = dict(zip(wanted, embedder.embed(wanted), strict=True))
    batch, most = len(found), max(classes)
    deep = max(1, *(len(one.demonstrations) for one in found), 1)
    made = Likeness(
        np.zeros((batch, most), dtype=np.float32),
        np.zeros((batch, deep), dtype=np.float32),
        np.zeros((batch, deep, most), dtype=np.bool_),
        np.zeros((batch, deep), dtype=np.bool_),
    )
    for number, (one, own) in enumerate(zip(found, heard, strict=True)):
        query = rows[one.query or ""] if own is None else own
        for label, text in one.definitions.items():
            made.definitions[number, label] = rows[text] @ query
        for place, (text, labels) in enumerate(zip(one.demonstrations, one.labels, strict=True)):
            made.demonstrations[number, place] = rows[text] @ query
            made.there[number, place] = True
            for label in labels:
                if label < classes[number]:  # none is no class
                    made.shown[number, place, label] = True
    return made
