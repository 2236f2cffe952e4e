"""ESPnet's decode folders: ``1best_recog/{text,score}``, ``2best_recog/{text,score}``, ... Not here: its tokens.

The folders lie in the one that is named, or, as a parallel decoding leaves them, in its ``output.1``, ``output.2``, ...
or ``logdir/output.*``. A score may be written ``tensor(-1.5)``. Beside them may lie ``ref`` (``utt words``) and
``utt2spk``; ESPnet keeps its references elsewhere, so another file can be named.

Example:
    >>> from tunelet.data.nbest import Hypothesis, NBest
    >>> write([NBest("a", (Hypothesis("the see", -1.0),))])
    {'1best_recog/text': 'a the see\\n', '1best_recog/score': 'a -1.0\\n'}
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tunelet.data.nbest import Hypothesis, NBest
from tunelet.data.nbest_formats import parts
from tunelet.data.nbest_formats.kaldi import score_of
from tunelet.data.nbest_formats.parts import Found
from tunelet.data.nbest_formats.tables import Beside, Cell, beside, read_table, row, table, write_beside
from tunelet.data.problems import ProblemLog

NAME = "espnet"

_FOLDER = re.compile(r"([1-9][0-9]*)best_recog")
_PART = re.compile(r"output\.([0-9]+)")


def fits(folder: Path) -> bool:
    """Whether a folder looks like this format."""
    return bool(_roots(folder))


def read(folder: Path, references: Path | None, logs: list[ProblemLog]) -> list[Found]:
    """The lists of a folder; each of its files has a log of its own."""
    around = beside(folder, logs, references)
    return [found for root in _roots(folder) for found in _read_root(root, around, logs)]


def write(lists: Iterable[NBest]) -> dict[str, str]:
    """The files of the folder, by relative path."""
    lists = tuple(lists)
    files: dict[str, str] = {}
    for number in range(1, max((len(one) for one in lists), default=0) + 1):
        longer = [one for one in lists if len(one) >= number]
        files[f"{number}best_recog/text"] = "".join(row(one.id, one.hypotheses[number - 1].text) for one in longer)
        scores = [row(one.id, repr(one.hypotheses[number - 1].score)) for one in longer]
        files[f"{number}best_recog/score"] = "".join(scores)
    return {**files, **write_beside(lists)}


def _roots(folder: Path) -> list[Path]:
    """The folders that hold ``1best_recog`` and its like."""
    if _ranks(folder):
        return [folder]
    inner = [path for base in (folder, folder / "logdir") if base.is_dir() for path in base.iterdir()]
    parts_found = [(int(match[1]), path) for path in inner if (match := _PART.fullmatch(path.name)) and _ranks(path)]
    return [path for _, path in sorted(parts_found)]


def _ranks(folder: Path) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    found = {int(match[1]): path for path in folder.iterdir() if (match := _FOLDER.fullmatch(path.name))}
    return dict(sorted(found.items()))


def _read_root(root: Path, around: Beside, logs: list[ProblemLog]) -> list[Found]:
    texts: dict[str, list[tuple[int, Cell]]] = {}
    hypotheses: dict[str, list[Hypothesis | None]] = {}
    broken: set[str] = set()
    for number, folder in _ranks(root).items():
        text_path, score_path = table(folder, "text"), table(folder, "score")
        if text_path is None or score_path is None:
            log = ProblemLog(folder)
            logs.append(log)
            for name, path in (("text", text_path), ("score", score_path)):
                if path is None:
                    log.add(f"the file {name} is missing", field=name)
            continue
        found = read_table(text_path, logs)
        text_log = logs[-1]
        scores = read_table(score_path, logs)
        score_log = logs[-1]
        for key, cell in scores.items():
            if key not in found:
                score_log.add(f"there is no text for it in {text_path.name}", line=cell.line, field=key)
        for key, cell in found.items():
            have = texts.setdefault(key, [])
            if len(have) != number - 1:
                text_log.add(f"has no hypothesis {len(have) + 1}, but one of rank {number}", line=cell.line, field=key)
                broken.add(key)
            have.append((number, cell))
            score = score_of(scores.get(key), key, score_log, text_path.name, cell.line)
            hypotheses.setdefault(key, []).append(None if score is None else Hypothesis(cell.value, score))
    result = []
    for key, ranked in hypotheses.items():
        ref, speaker = around.refs.get(key), around.speakers.get(key)
        one = parts.list_of(
            key, ranked, ref.value if ref else None, speaker.value if speaker else None, whole=key not in broken
        )
        result.append(Found(texts[key][0][1].line, key, one))
    return result
