"""Jobs that score N-best lists: ours, and plain loops over transformers as a user would write them.

The peers do what the textbook says: batches of 32 in the order of the lists, each text scored as often as it comes, the
whole vocabulary at every position. Not here: what is compared with what (`rescore`).

Example:
    >>> worker = Worker("rescore", Rescoring(scorer="pll", lists=path).model_dump(mode="json"))     # doctest: +SKIP
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch

from tunelet.base.settings import Field, Settings
from tunelet.base.streams import torch_stream
from tunelet.models.bases import load_base
from tunelet.models.language import build_causal_lm, build_masked_lm
from tunelet.models.rescorer import build_rescorer
from tunelet.models.scoring.causal import CausalScorer, boundaries
from tunelet.models.scoring.cls_scorer import ClsScorer
from tunelet.models.scoring.pseudo_likelihood import PseudoLikelihood
from tunelet.models.settings import ModelSettings

from .worker import Channel

Lists = list[list[str]]
BATCH = 32


class Rescoring(Settings):
    """Which scorer, and whose."""

    scorer: Literal["pll", "cls", "causal"] = Field("pll", description="what is computed")
    side: Literal["ours", "loop", "copies", "flat"] = Field(
        "ours",
        description="loop: the peer; copies: one that masks one text at a time; flat: ours without shared prefixes",
    )
    base: str = Field("embedded:minilm", description="base model: name or folder")
    lists: Path = Field(description="JSON file with lists of texts")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast, on both sides")


def serve(spec: dict[str, Any], channel: Channel) -> None:
    """Answer ``{"lists": n}`` with the seconds that the first n lists took, and their scores."""
    how = Rescoring.model_validate(spec)
    score = SIDES[how.scorer, how.side](how)
    lists: Lists = json.loads(how.lists.read_text(encoding="utf-8"))
    score(lists[:2])
    channel.answer({"available": len(lists)})
    for order in channel.orders():
        chosen = lists[: order["lists"]]
        start = time.perf_counter()
        scores = score(chosen)
        seconds = time.perf_counter() - start
        channel.answer({"seconds": seconds, "hypotheses": sum(map(len, chosen)), "scores": scores})


def _base(how: Rescoring) -> tuple[Any, torch.device, torch.dtype | None]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = load_base(ModelSettings(base=how.base, max_length=64))
    return base, device, torch.bfloat16 if how.precision == "bf16" else None


def _rescorer(base: Any) -> Any:
    """With a head that is not zero, so that there is something to compare."""
    model = build_rescorer(base)
    torch.nn.init.normal_(model.score.weight, std=0.02, generator=torch_stream(1, "benchmark"))
    return model


def _ours(how: Rescoring) -> Callable[[Lists], list[list[float]]]:
    base, device, autocast = _base(how)
    common: dict[str, Any] = {"max_length": 256, "autocast": autocast}
    if how.scorer == "pll":
        scorer: Any = PseudoLikelihood(build_masked_lm(base, seed=1).to(device), base.tokenizer, **common)
    elif how.scorer == "cls":
        scorer = ClsScorer(_rescorer(base).to(device), base.tokenizer, **common)
    else:
        model = build_causal_lm(base, seed=1).to(device)
        scorer = CausalScorer(model, base.tokenizer, share=how.side == "ours", **common)
    return lambda lists: [scores.tolist() for scores in scorer.score(lists)]


def _peer(run: Callable[[Any, Any, list[str]], list[float]]) -> Callable[[Rescoring], Callable[[Lists], list[Any]]]:
    """A peer that scores 32 texts at a time, in order."""

    def made(how: Rescoring) -> Callable[[Lists], list[Any]]:
        base, device, autocast = _base(how)
        build = {
            "pll": lambda b: build_masked_lm(b, seed=1),
            "cls": _rescorer,
            "causal": lambda b: build_causal_lm(b, seed=1),
        }
        model = build[how.scorer](base).to(device)

        def score(lists: Lists) -> list[Any]:
            texts, found = [text for row in lists for text in row], []
            with torch.inference_mode(), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
                for start in range(0, len(texts), BATCH):
                    found += run(model, base.tokenizer, texts[start : start + BATCH])
            rest: Iterator[float] = iter(found)
            return [[next(rest) for _ in row] for row in lists]

        return score

    return made


def _masked_loop(model: Any, tokenizer: Any, texts: list[str]) -> list[float]:
    """PLL of a batch: for each position in turn, mask it in all texts of the batch."""
    batch = tokenizer(texts, padding=True, return_tensors="pt").to(model.device)
    ids, totals = batch["input_ids"], torch.zeros(len(texts), device=model.device)
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids, device=model.device))
    for position in range(1, ids.shape[1] - 1):
        masked = ids.clone()
        masked[:, position] = tokenizer.mask_token_id
        logits = model(input_ids=masked, attention_mask=batch["attention_mask"]).logits[:, position].float()
        found = logits.log_softmax(-1).gather(1, ids[:, position, None])[:, 0]
        totals += torch.where(special[:, position], 0.0, found)
    return [float(total) for total in totals]


def _masked_copies(model: Any, tokenizer: Any, texts: list[str]) -> list[float]:
    """PLL of each text by itself: a copy for each masked position, 32 copies at a time."""
    totals = []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt").to(model.device)["input_ids"][0]
        places = torch.arange(1, len(ids) - 1, device=model.device)
        copies = ids.repeat(len(places), 1)
        copies[torch.arange(len(places)), places] = tokenizer.mask_token_id
        total = 0.0
        for start in range(0, len(places), BATCH):
            some = places[start : start + BATCH]
            logits = model(input_ids=copies[start : start + BATCH]).logits[torch.arange(len(some)), some].float()
            total += float(logits.log_softmax(-1).gather(1, ids[some][:, None]).sum())
        totals.append(total)
    return totals


def _one_pass(model: Any, tokenizer: Any, texts: list[str]) -> list[float]:
    batch = tokenizer(texts, padding=True, return_tensors="pt").to(model.score.weight.device)
    found = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0].float()
    return [float(value) for value in found]


def _left_to_right(model: Any, tokenizer: Any, texts: list[str]) -> list[float]:
    batch = tokenizer(texts, padding=True, return_tensors="pt").to(model.device)
    assert boundaries(tokenizer) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
    found = logits.log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    return [float(total) for total in (found * mask[:, 1:]).sum(1)]


SIDES: dict[tuple[str, str], Callable[[Rescoring], Callable[[Lists], list[Any]]]] = {
    ("pll", "ours"): _ours,
    ("pll", "loop"): _peer(_masked_loop),
    ("pll", "copies"): _peer(_masked_copies),
    ("cls", "ours"): _ours,
    ("cls", "loop"): _peer(_one_pass),
    ("causal", "ours"): _ours,
    ("causal", "flat"): _ours,
    ("causal", "loop"): _peer(_left_to_right),
}
