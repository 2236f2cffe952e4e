"""Rescoring speed: pseudo-likelihoods, the [CLS] scorer and the causal tree beside plain transformers loops, in fp32.

The same lists, the same weights, one model after the other in turn; scores are compared. Peers work in batches of 32 in
the order of the lists and score a repeated text again. ``pll_vs_loop``: the peer masks one position after the other in
all texts of a batch; the figures hold a second peer, ``copies``, which masks one text at a time and wastes no padding.
``causal_trie_vs_flat``: the peer runs every text for itself; ``causal_trie_vs_own_flat``: so do we, all else as ours.
Tokenising is inside. Not here: how a side scores (`common.rescore_jobs`).

Example:
    $ tunelet bench rescore --quick
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunelet.base.streams import numpy_stream
from tunelet.data.settings import DataSettings
from tunelet.data.sources import load_dataset

from .common.processes import Worker, Workers, alternate
from .common.rescore_jobs import Rescoring
from .common.summary import ratio, result, speed

#: In a folder of data: real ten-best lists of a recogniser.
REAL = "nbest/librispeech_espnet100/test_clean.jsonl"
#: Scorer -> its sides; the first is ours, the second the peer of the ratio.
SIDES = {"pll": ("ours", "loop", "copies"), "cls": ("ours", "loop"), "causal": ("ours", "loop", "flat")}
RATIOS = {
    "pll_vs_loop": ("pll", "ours", "loop"),
    "pll_vs_copies": ("pll", "ours", "copies"),
    "cls_vs_loop": ("cls", "ours", "loop"),
    "causal_trie_vs_flat": ("causal", "ours", "loop"),
    "causal_trie_vs_own_flat": ("causal", "ours", "flat"),
}


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Attributes:
        lists: for each scorer, lists that are scored.
        rounds: alternations.
        precision: of both sides.
    """

    lists: dict[str, int]
    rounds: int = 3
    precision: Literal["fp32", "bf16"] = "fp32"


FULL = Plan({"pll": 12, "cls": 300, "causal": 100})
QUICK = Plan({"pll": 8, "cls": 60, "causal": 30}, rounds=2)


def measure(*, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure; see docs/benchmarks.md for the figures."""
    return compare("embedded:minilm", read_lists(os.environ.get("TUNELET_DATA")), QUICK if quick else FULL, tell)


def read_lists(data_dir: str | None) -> list[list[str]]:
    """Real ten-best lists where there are any, else `made_lists`; spread over the file, in lower case."""
    path = None if data_dir is None else Path(data_dir) / REAL
    if path is None or not path.is_file():
        texts = [example.text for example in load_dataset(DataSettings(source="embedded"), None).splits["test"]]
        return made_lists(texts)
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    order = numpy_stream(1, "benchmark lists").permutation(len(rows))
    return [[guess["text"].lower() for guess in rows[i]["nbest"]] for i in order]


def made_lists(texts: list[str], size: int = 10) -> list[list[str]]:
    """Lists of `size` texts, each with one or two words of the first replaced, doubled or left out."""
    words = sorted({word for text in texts for word in text.split()})
    lists = []
    for number, text in enumerate(texts):
        stream = numpy_stream(1, "benchmark lists", number)
        row = [text]
        while len(row) < size:
            changed = text.split()
            for _ in range(int(stream.integers(1, 3))):
                place, kind = int(stream.integers(len(changed))), int(stream.integers(4))
                other = words[int(stream.integers(len(words)))]
                changed[place : place + 1] = [[other], [other], [changed[place], other], []][kind]
                changed = changed or [other]
            row.append(" ".join(changed))
        lists.append(row)
    return lists


def compare(base: str, lists: list[list[str]], plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure what `plan` says on `base`."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lists.json"
        path.write_text(json.dumps(lists[: max(plan.lists.values())]), encoding="utf-8")
        for scorer, sides in SIDES.items():
            how = Rescoring(scorer=scorer, base=base, lists=path, precision=plan.precision)  # type: ignore[arg-type]
            with Workers() as workers:
                started = {
                    side: workers.start("rescore", how.model_copy(update={"side": side}).model_dump(mode="json"))
                    for side in sides
                }
                count = min(plan.lists[scorer], *(worker.wait()["available"] for worker in started.values()))
                tell(f"{scorer}: {count} lists: {', '.join(started)}")
                asks = {side: _asking(worker, count) for side, worker in started.items()}
                answers = alternate(asks, plan.rounds, tell)
            figures[scorer] = {"lists": count, **_figures(answers, tell)}
    speeds = {f"{s}/{side}": figures[s][side] for s, sides in SIDES.items() for side in sides}
    ratios = {name: ratio(speeds, f"{s}/{a}", f"{s}/{b}", "hypotheses") for name, (s, a, b) in RATIOS.items()}
    return result("rescore", ratios, {"batch": 32, "precision": plan.precision, **figures})


def _figures(answers: dict[str, list[dict[str, Any]]], tell: Callable[[str], None]) -> dict[str, Any]:
    """Speed of each side, and how far its scores are from ours."""
    scores = {side: [x for row in found[0]["scores"] for x in row] for side, found in answers.items()}
    speeds = {}
    for side, found in answers.items():
        rate = speed([{key: block[key] for key in ("seconds", "hypotheses")} for block in found], "hypotheses")
        pairs = list(zip(scores[side], scores["ours"], strict=True))
        rate["largest_difference"] = max(abs(a - b) for a, b in pairs)
        rate["largest_relative_difference"] = max(abs(a - b) / max(1.0, abs(b)) for a, b in pairs)
        speeds[side] = rate
        if not math.isfinite(rate["largest_difference"]):
            raise ValueError(f"the side {side!r} gives scores that are not finite")
        tell(
            f"  {side} {rate['hypotheses_per_second']:,.1f} hypotheses/s, scores within "
            f"{rate['largest_relative_difference']:.1e} of ours"
        )
    return speeds


def _asking(worker: Worker, lists: int) -> Callable[[], dict[str, Any]]:
    return lambda: worker.ask({"lists": lists})
