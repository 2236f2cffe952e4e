"""The cells of a run as they come: scores and answers of a task in a way, each on disk as soon as it is there.

A run that was stopped while it asked goes on with the cells that are missing. A kept cell belongs to the weights that
answered, and is left aside where these changed. Not here: asking (`systems.understand_evaluation`).

Example:
    >>> cells = Cells(folder, "random", "random", "meld", 1, weights="0a")              # doctest: +SKIP
    >>> cells.put(way, task, scores, rows)["macro_f1"]                                  # doctest: +SKIP
    0.52
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunelet.base.errors import DamagedFileError
from tunelet.base.files import canonical_json, read_json, sha256_bytes, sha256_file, write_atomic, write_json
from tunelet.data.understanding.task import UnderstandingTask
from tunelet.evaluation.understanding import AnswerScores
from tunelet.systems.understand_batches import PromptCounts
from tunelet.systems.understand_settings import RunRegime
from tunelet.systems.understand_ways import Way


@dataclass(frozen=True)
class Cells:
    """Cells of one run.

    Attributes:
        folder: of the run.
        label: name of the block.
        regime, source, seed: of the run.
        weights: what the model that is asked is known by.
    """

    folder: Path
    label: str
    regime: RunRegime
    source: str
    seed: int
    weights: str

    def get(self, task: UnderstandingTask, way: Way) -> dict[str, Any] | None:
        """A cell that is on disk with its answers, or None."""
        try:
            kept = read_json(self._kept(task.name, way))
        except DamagedFileError:
            return None
        answers = self.folder / self._answers(task.name, way)
        if not isinstance(kept, dict) or kept.get("weights") != self.weights or not answers.is_file():
            return None
        return dict(kept["cell"]) if kept.get("answers") == sha256_file(answers) else None

    def put(
        self, task: UnderstandingTask, way: Way, scores: AnswerScores, rows: Iterable[dict[str, Any]]
    ) -> dict[str, Any]:
        """Write the answers, then the cell; gives the cell."""
        counts, lines = PromptCounts(), []
        for row in rows:
            counts.add(len(row["demonstrations"]), row["dropped"])
            lines.append(canonical_json(row))
        text = "\n".join(lines) + "\n"
        write_atomic(self.folder / self._answers(task.name, way), text)
        told = scores.to_json()
        cell = {
            "group": self.label,
            "regime": self.regime,
            "source": self.source,
            "task": task.name,
            "matched": self.source == task.name,
            **way.to_json(),
            "seed": self.seed,
            "n": scores.n,
            "macro_f1": scores.macro_f1,
            "micro_f1": scores.micro_f1,
            "weighted_f1": scores.weighted_f1,
            "accuracy": scores.accuracy,
            "metric": task.metric,
            "value": scores.value(task.metric),
            "invalid_rate": scores.invalid_rate,
            "counts": {key: told[key] for key in _COUNTS},
            "per_class": told["per_class"],
            "confusion": told["confusion"],
            "shown": counts.demonstrations,
            "dropped": counts.dropped,
            "answers_file": self._answers(task.name, way),
        }
        kept = {"weights": self.weights, "answers": sha256_bytes(text.encode()), "cell": cell}
        write_json(self._kept(task.name, way), kept)
        return cell

    def _kept(self, task: str, way: Way) -> Path:
        return self.folder / "state" / "cells" / task / f"{way.name}.json"

    def _answers(self, task: str, way: Way) -> str:
        return f"answers/{task}/{way.name}.jsonl"


#: counts from which every score of a cell follows
_COUNTS = ("exact", "invalid", "true_positives", "false_positives", "false_negatives")
#: what the table of all runs leaves out
_OWN = ("counts", "per_class", "confusion", "answers_file")


def row_of_table(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell as the key ``cells`` of result.json has it."""
    return {key: value for key, value in cell.items() if key not in _OWN}
