"""Speed of answering prompts with 18 labels and 5 demonstrations, beside plain loops over transformers, in fp32.

The same prompts and weights (MiniLM as a decoder), one side after the other in turn. The prompts are those of the 18
dialogue acts of SLUE-HVB with their definitions, which all queries share. Demonstrations are others for each query, as
retrieved ones are; ``_fixed``: the same for all. Tokenising is inside. ``vs_rescoring_each_label``: the peer runs every
label behind the whole prompt; its scores are compared with ours. ``vs_generate``: the peer writes an answer for each
query, which need not be a label; ``_in_batches``: for sixteen at a time. Not here: how a side answers
(`common.understand_jobs`).

Example:
    $ tunelet bench understand --quick
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunelet.base.errors import DataError
from tunelet.base.streams import numpy_stream
from tunelet.data.settings import DataSettings
from tunelet.data.sources import load_dataset
from tunelet.data.understanding.load import load_split
from tunelet.data.understanding.tasks import find_task

from .common.processes import Worker, Workers, alternate
from .common.summary import ratio, result, speed
from .common.understand_jobs import Answering

SIDES = ("ours", "each_label", "generate", "batches")
RATIOS = {
    "vs_rescoring_each_label": "each_label",
    "vs_generate": "generate",
    "vs_generate_in_batches": "batches",
}
#: Log-probabilities of whole labels may differ by so much.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Attributes:
        queries: of each side, in a round; the peers' are the first of ours.
        rounds: alternations.
        base: model.
        demonstrations: in a prompt.
    """

    queries: dict[str, int] = field(
        default_factory=lambda: {"ours": 500, "each_label": 50, "generate": 200, "batches": 192}
    )
    rounds: int = 3
    base: str = "embedded:minilm"
    demonstrations: int = 5


QUICK = Plan({"ours": 64, "each_label": 2, "generate": 8, "batches": 16}, rounds=2)


def measure(*, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure; see docs/benchmarks.md for the figures."""
    plan = QUICK if quick else Plan()
    return compare(read_texts(os.environ.get("TUNELET_DATA"), max(plan.queries.values())), plan, tell)


def read_texts(data_dir: str | None, count: int) -> list[str]:
    """Turns of real telephone calls (Switchboard) where there are any, else the embedded texts; as often as needed."""
    try:
        examples = load_split(find_task("swda_full"), "test", data_dir=None if data_dir is None else Path(data_dir))
        texts = [example.text for example in examples if example.text.strip()]
    except DataError:
        texts = [example.text for example in load_dataset(DataSettings(source="embedded"), None).splits["test"]]
    order = numpy_stream(1, "benchmark texts").permutation(len(texts)).tolist()
    return [texts[order[number % len(order)]] for number in range(count)]


def compare(texts: list[str], plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure what `plan` says on these texts."""
    figures: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    for suffix, fixed in (("", False), ("_fixed", True)):
        tell(
            f"{plan.demonstrations} demonstrations, {'the same for all queries' if fixed else 'others for each query'}"
        )
        found = _measured(texts, plan, tell, fixed=fixed)
        figures["fixed" if fixed else "own"] = found
        ratios |= {f"{name}{suffix}": ratio(found, "ours", peer, "queries") for name, peer in RATIOS.items()}
    return result("understand", ratios, {"labels": 18, "demonstrations": plan.demonstrations, **figures})


def _measured(texts: list[str], plan: Plan, tell: Callable[[str], None], *, fixed: bool) -> dict[str, Any]:
    """Speed of each side.

    Raises:
        ValueError: a peer that should score as we do scores otherwise.
    """
    with tempfile.TemporaryDirectory() as folder, Workers() as workers:
        path = Path(folder) / "texts.json"
        path.write_text(json.dumps(texts), encoding="utf-8")
        how = Answering(texts=path, base=plan.base, demonstrations=plan.demonstrations, fixed=fixed)
        started = {
            side: workers.start("understand", how.model_copy(update={"side": side}).model_dump(mode="json"))
            for side in SIDES
        }
        ready = {side: worker.wait() for side, worker in started.items()}
        facts = {key: value for key, value in ready["ours"].items() if key.endswith("_tokens")}
        tell(f"{facts['prefix_tokens']} tokens that all queries share, {facts['other_tokens']:.0f} of each query")
        asks = {side: _asking(worker, plan.queries[side]) for side, worker in started.items()}
        answers = alternate(asks, plan.rounds, tell)
    speeds = {
        side: speed([{key: block[key] for key in ("seconds", "queries")} for block in blocks], "queries")
        for side, blocks in answers.items()
    }
    speeds["each_label"] |= _agreement(answers["ours"][0]["answers"], answers["each_label"][0]["answers"])
    for side, figure in speeds.items():
        tell(f"  {side} {figure['queries_per_second']:,.2f} queries/s")
    return {**facts, **speeds}


def _agreement(ours: list[list[float]], theirs: list[list[float]]) -> dict[str, Any]:
    """How far the scores of the same queries are from each other, and how many answers are the same."""
    pairs = list(zip(ours, theirs, strict=False))
    largest = max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))
    if not largest <= TOLERANCE:
        raise ValueError(f"scores of whole labels differ by {largest:.2g}, expected at most {TOLERANCE:g}")
    same = sum(one.index(max(one)) == other.index(max(other)) for one, other in pairs)
    return {"largest_difference": largest, "same_answers": same, "compared": len(pairs)}


def _asking(worker: Worker, queries: int) -> Callable[[], dict[str, Any]]:
    return lambda: worker.ask({"queries": queries})
