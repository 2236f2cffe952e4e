"""Jobs that answer texts with an adapter: ours as `tunelet predict` does it, and a transformers pipeline.

Not here: training the adapter (`our_jobs.make_adapter`).

Example:
    >>> worker = Worker("predict_ours", Answers(adapter=folder).model_dump(mode="json"))        # doctest: +SKIP
    >>> worker.wait(), worker.ask({"texts": 100})["labels"]                                     # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from tunelet.base.files import read_json
from tunelet.base.settings import Field, Settings
from tunelet.data.records import TextExample
from tunelet.data.settings import DataSettings
from tunelet.data.sources import load_dataset
from tunelet.evaluation.inference import predict_stream
from tunelet.models.bases import load_base
from tunelet.models.settings import ModelSettings
from tunelet.tuning.folder import load_adapter
from tunelet.tuning.inference import for_inference

from .worker import Channel


class Answers(Settings):
    """How texts are answered."""

    adapter: Path = Field(description="adapter folder")
    base: str = Field("embedded:minilm", description="its base, for the peer")
    max_length: int = Field(128, ge=1, description="tokens at which the peer cuts a text, as ours does")
    data_dir: Path | None = Field(None, description="folder of data; null: TUNELET_DATA, else the embedded sample")
    batch: int = Field(32, ge=1, description="texts in a batch of the peer; ours cuts its own")
    merged: bool = Field(True, description="whether the adapter is merged into the base first")
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto", description="type of the encoder's products; the peer has fp32"
    )


def pipeline(spec: dict[str, Any], channel: Channel) -> None:
    """The peer: ``pipeline("text-classification", batch_size=...)`` over the base with PEFT's adapter."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers import pipeline as make_pipeline

    how = Answers.model_validate(spec)
    folder = load_base(ModelSettings(base=how.base)).folder
    labels = [label["name"] for label in read_json(how.adapter / "tunelet.json")["task"]["labels"]]
    plain = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=len(labels), id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)}
    )
    model = PeftModel.from_pretrained(plain, how.adapter)
    answer = make_pipeline(
        "text-classification",
        model=model.merge_and_unload() if how.merged else model,
        tokenizer=AutoTokenizer.from_pretrained(folder),
        batch_size=how.batch,
        device=0 if torch.cuda.is_available() else -1,
    )

    def labels_of(examples: list[TextExample]) -> list[str]:
        rows = answer([example.text for example in examples], truncation=True, max_length=how.max_length)
        return [row["label"] for row in rows]

    _serve(how, channel, labels_of)


def ours(spec: dict[str, Any], channel: Channel) -> None:
    """`predict_stream`, by default exactly as `tunelet predict` calls it."""
    how = Answers.model_validate(spec)
    loaded = for_inference(load_adapter(how.adapter), precision=how.precision, merge=how.merged)

    def labels_of(examples: list[TextExample]) -> list[str]:
        return [row.predicted[0] for row in predict_stream(loaded, examples)]

    _serve(how, channel, labels_of)


def _serve(how: Answers, channel: Channel, labels_of: Callable[[list[TextExample]], list[str]]) -> None:
    """Answer ``{"texts": n}`` with the seconds that the first n test texts took, and their labels."""
    examples = [
        TextExample(example.id, example.text)
        for example in load_dataset(DataSettings(), how.data_dir, splits=("test",)).splits["test"]
    ]
    labels_of(examples[: 2 * how.batch])  # kernels are warm, and a guard knows its bound
    channel.answer({"available": len(examples)})
    for order in channel.orders():
        chosen = examples[: order["texts"]]
        start = time.perf_counter()
        labels = labels_of(chosen)
        channel.answer({"seconds": time.perf_counter() - start, "texts": len(chosen), "labels": labels})
