"""Vectors of a batch under six adapters and the plain base: our bank beside PEFT's ways, in fp32.

``grouped_vs_set_adapter``: the peer loops over `set_adapter`, K + 1 passes. ``grouped_vs_adapter_names``: the peer is
PEFT's mixed batch, one pass over repeated texts. ``grouped_vs_merged_models``: a merged model for each adapter, which
takes the memory of K + 1 models. Batches of 32 texts of exactly 32 tokens, LoRA of rank 8 on query, key and value;
``_linear``: on all linear layers; ``_texts``: real texts cut at 32 tokens and padded to the longest of the batch, as a
loader gives them; ``_one``: such texts one at a time, as questions come to a server. Tokenising is outside; vectors are
compared. Not here: how a side computes (`common.fuse_jobs`).

Example:
    $ tunelet bench fuse --quick
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunelet.data.settings import DataSettings
from tunelet.data.sources import load_dataset
from tunelet.models.bases import load_base
from tunelet.models.settings import ModelSettings

from .common.fuse_jobs import SIDES, Fusing
from .common.processes import Worker, Workers, alternate
from .common.summary import ratio, result, speed

LINEAR = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")


@dataclass(frozen=True)
class Variant:
    """What the sides are given.

    Attributes:
        targets: modules with an update.
        own_length: whether texts have their own length.
        alone: whether each text is a batch of its own.
    """

    targets: tuple[str, ...] = ("query", "key", "value")
    own_length: bool = False
    alone: bool = False


#: by the suffix of its ratios
VARIANTS = {
    "": Variant(),
    "_linear": Variant(LINEAR),
    "_texts": Variant(own_length=True),
    "_one": Variant(own_length=True, alone=True),
}
#: largest difference of a number of a vector that the sides may show
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Attributes:
        variants: keys of `VARIANTS`.
        batches: in a block; four times as many where each is one text.
        rounds: alternations.
        size, length: texts in a batch, and tokens of a text, or at which it is cut.
        experts: K.
    """

    variants: tuple[str, ...] = tuple(VARIANTS)
    batches: int = 8
    rounds: int = 5
    size: int = 32
    length: int = 32
    experts: int = 6


QUICK = Plan(variants=("", "_texts", "_one"), batches=3, rounds=3)


def measure(*, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure; see docs/benchmarks.md for the figures."""
    return compare("embedded:minilm", None, QUICK if quick else Plan(), tell)


def compare(base: str, data_dir: Path | None, plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure what `plan` says on `base` and the Emotion texts of a folder (None: TUNELET_DATA, else the sample)."""
    texts = [example.text for example in load_dataset(DataSettings(), data_dir, splits=("test",)).splits["test"]]
    figures: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix in plan.variants:
            variant = VARIANTS[suffix]
            here = replace(plan, size=1, batches=4 * plan.batches) if variant.alone else plan
            path = Path(folder) / f"batches{suffix}.json"
            path.write_text(
                json.dumps(make_batches(base, texts, here, own_length=variant.own_length)), encoding="utf-8"
            )
            how = Fusing(base=base, batches=path, experts=plan.experts, targets=variant.targets)
            found = _measured(how, here, tell)
            figures[suffix.removeprefix("_") or "full"] = found
            for side in SIDES:
                if side != "ours":
                    ratios[f"grouped_vs_{side}{suffix}"] = ratio(found, "ours", side, "texts")
    facts = {"batch": plan.size, "length": plan.length, "experts": plan.experts, "rank": 8, "batches": plan.batches}
    return result("fuse", ratios, {**facts, **figures})


def make_batches(base: str, texts: Sequence[str], plan: Plan, *, own_length: bool) -> list[list[list[int | None]]]:
    """Batches of token ids: texts of their own length, padded with None, or cut out of one long text."""
    tokenizer = load_base(ModelSettings(base=base)).tokenizer
    wanted = plan.batches * plan.size
    rows: list[list[int | None]]
    if own_length:
        chosen = [texts[number % len(texts)] for number in range(wanted)]
        rows = [list(ids) for ids in tokenizer(chosen, truncation=True, max_length=plan.length)["input_ids"]]
    else:
        stream = [token for text in texts for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
        stream = stream * (wanted * plan.length // len(stream) + 1)
        rows = [stream[start * plan.length : (start + 1) * plan.length] for start in range(wanted)]
    batches = [rows[start : start + plan.size] for start in range(0, wanted, plan.size)]
    return [[row + [None] * (max(map(len, batch)) - len(row)) for row in batch] for batch in batches]


def _measured(how: Fusing, plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Speed of each side, and how far its vectors are from ours."""
    with Workers() as workers:
        started = {
            side: workers.start("fuse", how.model_copy(update={"side": side}).model_dump(mode="json")) for side in SIDES
        }
        ready = {side: worker.wait() for side, worker in started.items()}
        tell(f"{len(how.targets)} targets, {plan.batches} batches: {', '.join(started)}")
        answers = alternate(
            {side: _asking(worker, plan.batches) for side, worker in started.items()}, plan.rounds, tell
        )
    found = {side: speed(blocks, "texts") for side, blocks in answers.items()}
    for side, figure in found.items():
        figure["largest_difference"] = _difference(ready[side]["sample"], ready["ours"]["sample"])
        if not figure["largest_difference"] <= TOLERANCE:
            raise ValueError(f"the side {side!r} gives other vectors, by {figure['largest_difference']:.2g}")
        tell(f"  {side} {figure['texts_per_second']:,.1f} texts/s, within {figure['largest_difference']:.1e} of ours")
    return found


def _difference(one: Any, other: Any) -> float:
    if isinstance(one, list):
        return max(_difference(a, b) for a, b in zip(one, other, strict=True))
    return abs(float(one) - float(other))


def _asking(worker: Worker, batches: int) -> Callable[[], dict[str, Any]]:
    return lambda: worker.ask({"batches": batches})
