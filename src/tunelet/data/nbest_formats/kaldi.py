"""Kaldi's n-best text: one table of texts, one of scores, with keys ``utt-1``, ``utt-2``, ... Not here: lattices.

A folder with ``text`` (or ``words_text``) and either ``score`` (log probabilities) or ``cost`` (Kaldi's own sign: lower
is better; it is negated here). Acoustic and language model costs are to be added, with their scales, before they come
here. Beside them may lie ``ref`` (``utt words``) and ``utt2spk``. Each may also be compressed, with .gz behind.

Example:
    >>> from tunelet.data.nbest import Hypothesis, NBest
    >>> write([NBest("a", (Hypothesis("the see", -1.0), Hypothesis("the sea", -1.5)), "the sea")])["text"]
    'a-1 the see\\na-2 the sea\\n'
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tunelet.data.nbest import Hypothesis, NBest
from tunelet.data.nbest_formats import parts
from tunelet.data.nbest_formats.parts import Found
from tunelet.data.nbest_formats.tables import Cell, beside, read_table, row, table, write_beside
from tunelet.data.problems import ProblemLog

NAME = "kaldi"
TEXTS, SCORES = ("text", "words_text"), ("score", "cost")


def fits(folder: Path) -> bool:
    """Whether a folder looks like this format."""
    return any(table(folder, name) for name in TEXTS)


def read(folder: Path, references: Path | None, logs: list[ProblemLog]) -> list[Found]:
    """The lists of a folder; each of its files has a log of its own."""
    whole = ProblemLog(folder)
    logs.append(whole)
    text_path = next(path for name in TEXTS if (path := table(folder, name)))
    scores_found = {name: path for name in SCORES if (path := table(folder, name))}
    if len(scores_found) != 1:
        seen = "both are there" if scores_found else "neither is there"
        whole.add(f"expected one of the files score and cost, {seen}", hint="score: higher is better; cost: lower is")
        return []
    (kind, score_path), *_ = scores_found.items()
    texts = read_table(text_path, logs)
    text_log = logs[-1]
    scores = read_table(score_path, logs)
    score_log = logs[-1]
    around = beside(folder, logs, references)
    for key, cell in scores.items():
        if key not in texts:
            score_log.add(f"there is no text for it in {text_path.name}", line=cell.line, field=key)
    numbered = _by_utterance(texts, text_log)
    found = []
    for identity, cells in numbered.items():
        first = cells[min(cells)][1]
        ref, speaker = around.refs.get(identity), around.speakers.get(identity)
        missing = [number for number in range(1, max(cells) + 1) if number not in cells]
        if missing:
            message = f"missing, though there is {identity}-{max(cells)}; hypotheses are numbered from 1 without a gap"
            text_log.add(message, line=first.line, field=f"{identity}-{missing[0]}")
        hypotheses = []
        for _, (key, text) in sorted(cells.items()):
            score = score_of(scores.get(key), key, score_log, text_path.name, text.line)
            hypotheses.append(None if score is None else Hypothesis(text.value, -score if kind == "cost" else score))
        one = parts.list_of(
            identity, hypotheses, ref.value if ref else None, speaker.value if speaker else None, whole=not missing
        )
        found.append(Found(first.line, identity, one))
    return found


def write(lists: Iterable[NBest]) -> dict[str, str]:
    """The files of the folder, by name."""
    lists = tuple(lists)
    texts = scores = ""
    for one in lists:
        for number, hypothesis in enumerate(one.hypotheses, 1):
            texts += row(f"{one.id}-{number}", hypothesis.text)
            scores += row(f"{one.id}-{number}", repr(hypothesis.score))
    return {"text": texts, "score": scores, **write_beside(lists)}


def score_of(cell: Cell | None, key: str, log: ProblemLog, texts: str, text_line: int) -> float | None:
    """The number in a cell of a table of scores; ``tensor(-1.5)`` is what ESPnet writes for -1.5."""
    if cell is None:
        log.add(f"no score for the text on line {text_line} of {texts}", field=key)
        return None
    written = cell.value
    if written.startswith("tensor(") and written.endswith(")"):
        written = written[len("tensor(") : -1].split(",")[0]
    try:
        number = float(written)
    except ValueError:
        log.add(f"expected a finite number, found {cell.value[:40]!r}", line=cell.line, field=key)
        return None
    return parts.score_of(number, cell.line, key, log)


def _by_utterance(texts: dict[str, Cell], log: ProblemLog) -> dict[str, dict[int, tuple[str, Cell]]]:
    found: dict[str, dict[int, tuple[str, Cell]]] = {}
    for key, cell in texts.items():
        identity, _, number = key.rpartition("-")
        if not identity or not number.isascii() or not number.isdigit() or number.startswith("0"):
            hint = "the first hypothesis of the utterance a is a-1"
            log.add("expected an utterance, a hyphen and a number from 1", line=cell.line, field=key, hint=hint)
            continue
        found.setdefault(identity, {})[int(number)] = (key, cell)
    return found
