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
        names: of each class that has a definition, as shown.
        demonstrations: texts in the order of the prompt.
        labels: positions of the classes of each demonstration; the number of classes for none.
    """

    query: str | None
    definitions: dict[int, str]
    names: dict[int, str]
    demonstrations: tuple[str, ...]
    labels: tuple[frozenset[int], ...]


@dataclass(frozen=True, eq=False)
class Likeness:
    """Cosines of a batch of prompts.

    Attributes:
        definitions: (B, C) of the query with each definition; 0 where a class has none.
        named: (B, C) of the query with name and definition; with the definition alone where `trust` is 0 or less.
        trust: (B,) how much nearer names are to their own definitions than to others of the prompt: mean cosine with
            their own, less the mean with the others. Names that were permuted have about 0 or less.
        demonstrations: (B, D) of the query with each demonstration; 0 beyond the last.
        shown: (B, D, C) whether a demonstration has the class; false beyond the last.
        there: (B, D) whether there is a demonstration.
    """

    definitions: Floats
    named: Floats
    trust: Floats
    demonstrations: Floats
    shown: NDArray[np.bool_]
    there: NDArray[np.bool_]


def sentences_of(prompt: Prompt) -> Sentences:
    """Take a prompt apart."""
    query, definitions, names = None, dict[int, str](), dict[int, str]()
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
                    names[one.label] = prompt.text[one.start : one.end]
        elif part.kind == "demonstration":
            text = prompt.part_text(part)
            texts.append(text[: text.rindex("\nOutput: ")].removeprefix("Text: "))
            labels.append(frozenset(one.label for one in inside))
        elif part.kind == "query" and prompt.speech is None:
            query = prompt.part_text(part).removeprefix("Text: ").removesuffix("\n")
    return Sentences(query, definitions, names, tuple(texts), tuple(labels))


def likeness(
    found: Sequence[Sentences], classes: Sequence[int], embedder: SentenceEmbedder, heard: Sequence[Floats | None]
) -> Likeness:
    """Cosines of prompts.

    Args:
        classes: C of each prompt.
        heard: (H,) the embedding of the query of a prompt without a text, of length one.
    """
    wanted = [
        text
        for one in found
        for text in (one.query or "", *one.definitions.values(), *one.names.values(), *one.demonstrations)
    ]
    rows = dict(zip(wanted, embedder.embed(wanted), strict=True))
    trust = np.array([_trust(one, rows) for one in found], dtype=np.float32)
    together = [_together(one) if fits > 0 else one.definitions for one, fits in zip(found, trust, strict=True)]
    named = [text for texts in together for text in texts.values()]
    rows |= dict(zip(named, embedder.embed(named), strict=True))
    batch, most = len(found), max(classes)
    deep = max(1, *(len(one.demonstrations) for one in found), 1)
    made = Likeness(
        np.zeros((batch, most), dtype=np.float32),
        np.zeros((batch, most), dtype=np.float32),
        trust,
        np.zeros((batch, deep), dtype=np.float32),
        np.zeros((batch, deep, most), dtype=np.bool_),
        np.zeros((batch, deep), dtype=np.bool_),
    )
    for number, (one, own) in enumerate(zip(found, heard, strict=True)):
        query = rows[one.query or ""] if own is None else own
        for label, text in one.definitions.items():
            made.definitions[number, label] = rows[text] @ query
            made.named[number, label] = rows[together[number][label]] @ query
        for place, (text, labels) in enumerate(zip(one.demonstrations, one.labels, strict=True)):
            made.demonstrations[number, place] = rows[text] @ query
            made.there[number, place] = True
            for label in labels:
                if label < classes[number]:  # none is no class
                    made.shown[number, place, label] = True
    return made


def _together(one: Sentences) -> dict[int, str]:
    """Name and definition of each class."""
    return {label: f"{one.names[label]}: {text}" for label, text in one.definitions.items()}


def _trust(one: Sentences, rows: dict[str, Floats]) -> float:
    """See `Likeness.trust`; 0 of fewer than two classes."""
    count = len(one.definitions)
    if count < 2:
        return 0.0
    names = np.stack([rows[one.names[label]] for label in one.definitions])
    cosines = names @ np.stack([rows[text] for text in one.definitions.values()]).T
    own = float(np.trace(cosines))
    return own / count - (float(cosines.sum()) - own) / (count * (count - 1))
