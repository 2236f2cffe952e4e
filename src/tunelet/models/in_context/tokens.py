"""Prompts and answers as token ids, always cut in the same places: in the loss, in scores, while writing.

    [begin] frame, instruction, definitions, guidelines  |  demonstrations, query, Output:  |  answer, end
            shared by all queries of a task              |  of one query

Each side is tokenised apart, so no token reaches over a cut. A text is tokenised behind an anchor, whose tokens are
then taken off: so a word gets the form that it has within a text (after a blank, say), not that of a beginning; where
the anchor's tokens change by what follows, the text is tokenised alone. An answer is put together from the tokens of
its class names (each behind a blank; the first as the frame says), of commas, and of the end. The end is EOS, or [SEP]
where a tokenizer has no EOS; the beginning is BOS, or [CLS], or nothing.

Example:
    >>> tokens = PromptTokens(tokenizer)                                            # doctest: +SKIP
    >>> tokens.prefix(prompt), tokens.sides(prompt)                                 # doctest: +SKIP
    ((101, 2017, 3198), ((3793, 1024, 6434, 1024), None))
    >>> tokens.answers(task, prompt.names).names                                    # doctest: +SKIP
    ((3893,), (4997,), (8699,))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tunelet.base.errors import BaseModelError, DataError, Problem
from tunelet.data.understanding.answers import SEPARATOR
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.prompt import SPEECH_MARKER, Prompt
from tunelet.data.understanding.regimes import LabelMap
from tunelet.data.understanding.task import UnderstandingTask
from tunelet.models.scoring.causal import boundaries

Ids = tuple[int, ...]
K = TypeVar("K")
V = TypeVar("V")

#: Tokens that a text may take more than it has as one piece, because its sides are tokenised apart.
SPARE = 2
#: What is kept apart at most: texts of prefixes, and the names of tasks.
_KEPT = 256
#: A query that says nothing.
NOTHING = "N/A"


@dataclass(frozen=True)
class Frame:
    """What a model expects around a prompt.

    Attributes:
        before: text in front of it.
        after: text behind it; the answer follows.
        gap: what stands between that and the answer.
    """

    before: str = ""
    after: str = ""
    gap: str = " "


PLAIN = Frame()
#: As SALMONN and the Vicuna models were trained.
SALMONN = Frame("USER: ", "\nASSISTANT:")


@dataclass(frozen=True)
class AnswerTokens:
    """The pieces of a task's answers under the names shown.

    Attributes:
        names: ids of each class's name at the beginning of an answer, in canonical order.
        later: ids of the same names behind a comma.
        none: ids of the answer that no class fits; None where there is none.
        comma: ids between two names.
        end: id of the end.
        multi_label: whether an answer may have several names.
    """

    names: tuple[Ids, ...]
    later: tuple[Ids, ...]
    none: Ids | None
    comma: Ids
    end: int
    multi_label: bool

    def ids(self, classes: Iterable[int]) -> Ids:
        """The answer that says these classes, in canonical order, with its end."""
        positions = sorted(classes)
        if not positions and self.none is None:
            raise DataError(Problem("has no known answer"))
        found = list(self.names[positions[0]] if positions else self.none or ())
        for position in positions[1:]:
            found += [*self.comma, *self.later[position]]
        return (*found, self.end)

    @property
    def longest_name(self) -> int:
        """Tokens of the longest name, with what follows it."""
        return max(map(len, (*self.names, *self.later, self.none or ()))) + max(1, len(self.comma))

    @property
    def longest(self) -> int:
        """Tokens of the longest answer."""
        return self.longest_name * (len(self.names) if self.multi_label else 1)


class PromptTokens:
    """Token ids of prompts and answers.

    Args:
        tokenizer: of transformers.
        frame: what stands around a prompt.

    Raises:
        BaseModelError: the tokenizer knows neither an EOS nor [SEP].
    """

    def __init__(self, tokenizer: Any, frame: Frame = PLAIN) -> None:
        self.tokenizer, self.frame = tokenizer, frame
        self.end = boundaries(tokenizer)[1]
        begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
        self.begin: Ids = () if begin is None else (int(begin),)
        self._prefixes: dict[str, Ids] = {}
        self._answers: dict[tuple[Any, ...], AnswerTokens] = {}

    def count(self, text: str) -> int:
        """Tokens of a text with frame, beginning and end, for `data.understanding.fitting`; speech is not counted."""
        whole = f"{self.frame.before}{text.replace(SPEECH_MARKER, '')}{self.frame.after}"
        return len(self._ids(whole)) + len(self.begin) + 1 + SPARE

    def prefix(self, prompt: Prompt) -> Ids:
        """Ids of what all queries share, the beginning of the sequence first."""
        text = self.frame.before + prompt.text[: prompt.prefix_end]
        return _kept(self._prefixes, text, lambda: (*self.begin, *self._ids(text)))

    def sides(self, prompt: Prompt, *, nothing: bool = False) -> tuple[Ids, Ids | None]:
        """Ids of the rest before the speech and after it; None in the place of the second where there is no speech.

        Args:
            nothing: put a query that says nothing in the place of the prompt's: "N/A", or no speech between its marks.
        """
        start, text = prompt.prefix_end, prompt.text
        if nothing and prompt.speech is None:
            query = next(part for part in prompt.parts if part.kind == "query")
            text = f"{text[: query.start]}Text: {NOTHING}\n{text[query.end :]}"
        text += self.frame.after
        if prompt.speech is None:
            return self._behind("\n", text[start:]), None
        before, after = text[start : prompt.speech[0]], text[prompt.speech[1] :]
        sides = self._behind("\n", before), self._ids(after)  # what follows speech follows no word
        return ((*sides[0], *sides[1]), None) if nothing else sides

    def answers(self, task: UnderstandingTask, names: LabelMap) -> AnswerTokens:
        """The tokens of a task's answers.

        Raises:
            BaseModelError: two classes have the same tokens, or a name has none.
        """
        key = (task.name, task.none, task.multi_label, names)
        return _kept(self._answers, key, lambda: self._pieces(task, names))

    def target(self, question: Asked) -> Ids:
        """The right answer with its end.

        Raises:
            DataError: it is not known.
        """
        if question.prompt.target is None:
            raise DataError(Problem("has no known answer", f"example {question.query.id!r} of {question.task.name!r}"))
        return self.answers(question.task, question.prompt.names).ids(question.gold)

    def text(self, question: Asked, ids: Sequence[int]) -> str:
        """What a model wrote.

        A tokenizer may lose case or blanks ("answer _ agree"), so an answer that has exactly the tokens of class names
        and commas is spelled as these are.
        """
        known = self.answers(question.task, question.prompt.names)
        shown = question.prompt.names.shown
        first, later = dict(zip(known.names, shown, strict=True)), dict(zip(known.later, shown, strict=True))
        if known.none is not None and question.task.none is not None:
            first[known.none] = question.task.none
        head, *tail = _split(tuple(ids), known.comma)
        if head in first and all(part in later for part in tail):
            return SEPARATOR.join([first[head], *(later[part] for part in tail)])
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _pieces(self, task: UnderstandingTask, names: LabelMap) -> AnswerTokens:
        anchor, gap = (self.frame.after or "\nOutput:").splitlines(keepends=True)[-1], self.frame.gap
        first = tuple(self._behind(anchor, f"{gap}{name}") for name in names.shown)
        later = tuple(self._behind(",", f" {name}") for name in names.shown)
        none = None if task.none is None else self._behind(anchor, f"{gap}{task.none}")
        comma = self._behind("a", ",")
        for pieces in (first if none is None else (*first, none), later):
            seen: dict[Ids, str] = {}
            for name, ids in zip((*names.shown, task.none or ""), pieces, strict=False):
                other = seen.setdefault(ids, name)
                if other != name or not ids or self.end in ids or (task.multi_label and _holds(ids, comma)):
                    what = f"has the tokens of {other!r}" if other != name else "has no tokens of its own"
                    hint = "take another name, or a model whose vocabulary knows it"
                    message = f"the class name {name!r} {what}"
                    raise BaseModelError(Problem(message, task.file, field="labels", hint=hint))
        return AnswerTokens(first, later, none, comma, self.end, task.multi_label)

    def _behind(self, anchor: str, text: str) -> Ids:
        """Ids of a text as they are behind the anchor."""
        if not text:
            return ()
        before, whole = self._ids(anchor), self._ids(anchor + text)
        return whole[len(before) :] if whole[: len(before)] == before else self._ids(text)

    def _ids(self, text: str) -> Ids:
        return tuple(map(int, self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]))


def _holds(ids: Ids, part: Ids) -> bool:
    return any(ids[i : i + len(part)] == part for i in range(len(ids) - len(part) + 1))


def _split(ids: Ids, comma: Ids) -> list[Ids]:
    """What stands between the commas."""
    parts, start, place = [], 0, 0
    while place < len(ids):
        if ids[place : place + len(comma)] == comma:
            parts.append(ids[start:place])
            start = place = place + len(comma)
        else:
            place += 1
    return [*parts, ids[start:]]


def _kept(store: dict[K, V], key: K, make: Callable[[], V]) -> V:
    """What is stored under the key, made at first; the oldest goes where there is too much."""
    if key not in store:
        if len(store) >= _KEPT:
            del store[next(iter(store))]
        store[key] = make()
    return store[key]
