"""Jobs that answer prompts with a causal language model: ours, and plain loops over transformers.

All sides begin with the same strings and have the same weights. The peers do what one would write first: a batch of all
labels behind the whole prompt for each query, or ``generate`` for each query. They are not careless: logits are asked
for at the answers alone, ``generate`` keeps keys and values. Not here: what is compared with what (`understand`).

Example:
    >>> worker = Worker("understand", Answering(side="ours", texts=path).model_dump(mode="json"))       # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from tunelet.base.files import read_json
from tunelet.base.settings import Field, Settings
from tunelet.base.streams import numpy_stream
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.fitting import fit_prompt
from tunelet.data.understanding.task import UnderstandingExample
from tunelet.data.understanding.tasks import find_task
from tunelet.models.bases import load_base
from tunelet.models.in_context.causal import CausalModel
from tunelet.models.language import build_causal_lm
from tunelet.models.quiet import quiet_transformers
from tunelet.models.settings import ModelSettings

from .worker import Channel

#: Tokens that the base reads.
ROOM = 512
#: Queries that ``generate`` takes together, where it takes several.
BATCH = 16


class Answering(Settings):
    """Which prompts, and who answers them."""

    side: Literal["ours", "each_label", "generate", "batches"] = Field(
        "ours",
        description="each_label: every label behind the whole prompt; generate: transformers' for each query; batches: "
        "the same for sixteen queries at a time",
    )
    base: str = Field("embedded:minilm", description="base model: name or folder")
    texts: Path = Field(description="JSON file with a list of texts")
    demonstrations: int = Field(5, ge=0, description="examples in a prompt")
    fixed: bool = Field(False, description="the same demonstrations for all queries")
    seed: int = Field(1, description="of demonstrations and their classes")


@dataclass(frozen=True)
class Given:
    """A model, its tokenizer, and the wrapper of ours."""

    model: Any
    tokenizer: Any
    ours: CausalModel


def serve(spec: dict[str, Any], channel: Channel) -> None:
    """Answer ``{"queries": n}`` with the seconds that the first n queries took, and what was answered."""
    how = Answering.model_validate(spec)
    base = load_base(ModelSettings(base=how.base, max_length=ROOM))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_causal_lm(base, seed=1).to(device)
    given = Given(model, base.tokenizer, CausalModel(model, base.tokenizer))
    questions = make_questions(read_json(how.texts), how, given.ours.count)
    answer = SIDES[how.side]
    answer(given, questions[:1])
    channel.answer({"available": len(questions), **_facts(given.ours, questions)})
    for order in channel.orders():
        chosen = questions[: order["queries"]]
        start = time.perf_counter()
        found = answer(given, chosen)
        seconds = time.perf_counter() - start
        channel.answer({"seconds": seconds, "queries": len(chosen), "answers": found})


def make_questions(texts: Sequence[str], how: Answering, count: Callable[[str], int]) -> list[Asked]:
    """A prompt for each text: the 18 dialogue acts of SLUE-HVB, one for each input, with demonstrations of its own.

    Which classes the demonstrations have is drawn: nothing is measured but time.
    """
    hvb = find_task("slue_hvb")
    task = replace(hvb, multi_label=False, data=replace(hvb.data, form="name"))
    names = task.label_names
    pool = [
        UnderstandingExample(str(number), text, (names[number % len(names)],), "train")
        for number, text in enumerate(texts)
    ]
    questions = []
    for number, example in enumerate(pool):
        stream = numpy_stream(how.seed, "benchmark demonstrations", 0 if how.fixed else number)
        order = stream.permutation(len(pool)).tolist()
        shown = [pool[i] for i in order if how.fixed or i != number][: how.demonstrations]
        fitted = fit_prompt(task, example, shown, limit=ROOM, count=count)
        questions.append(Asked(task, fitted.prompt, example))
    return questions


def _facts(model: CausalModel, questions: Sequence[Asked]) -> dict[str, Any]:
    shared = len(model.tokens.prefix(questions[0].prompt))
    rests = [len(model.tokens.sides(question.prompt)[0]) for question in questions]
    return {"prefix_tokens": shared, "other_tokens": sum(rests) / len(rests)}


def _ours(given: Given, questions: Sequence[Asked]) -> list[Any]:
    return [answer.scores.tolist() for answer in given.ours.answer(questions) if answer.scores is not None]


@torch.inference_mode()
def _each_label(given: Given, questions: Sequence[Asked]) -> list[Any]:
    """Every label of every query by its own pass over the whole text, the labels of a query in one batch."""
    found = []
    device = given.model.device
    for question in questions:
        names = question.prompt.names.shown
        texts = [f"{question.prompt.text} {name}" for name in names]
        batch = given.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt").to(device)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        lengths = [len(given.tokenizer(name, add_special_tokens=False)["input_ids"]) + 1 for name in names]
        last = max(lengths)
        logits = given.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=last + 1,
        ).logits[:, :-1]
        chances = logits.log_softmax(-1).gather(2, ids[:, -last:, None])[..., 0]
        found.append([float(row[last - length :].sum()) for row, length in zip(chances, lengths, strict=True)])
    return found


def _generate(given: Given, questions: Sequence[Asked], batch: int = 1) -> list[Any]:
    """What the model writes, by transformers' own loop, up to the longest label."""
    written: list[Any] = []
    tokenizer = given.tokenizer
    for start in range(0, len(questions), batch):
        some = questions[start : start + batch]
        texts = [f"{tokenizer.cls_token} {question.prompt.text}" for question in some]
        inputs = tokenizer(texts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt")
        inputs = inputs.to(given.model.device)
        longest = given.ours.tokens.answers(some[0].task, some[0].prompt.names).longest
        with quiet_transformers():
            made = given.model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=longest,
                do_sample=False,
                eos_token_id=tokenizer.sep_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        written += tokenizer.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return written


SIDES: dict[str, Callable[[Given, Sequence[Asked]], list[Any]]] = {
    "ours": _ours,
    "each_label": _each_label,
    "generate": _generate,
    "batches": lambda given, questions: _generate(given, questions, BATCH),
}
