"""The peer: transformers' Trainer with PEFT, as its documentation has one set it up. Knows nothing of this project.

Its defaults throughout (AdamW fused, linear decay, clipping at 1, random order, no workers), with dynamic padding, and
with logging and saving switched off, which would only cost it time. Run as a program it is one whole training, the way
one writes it in a script: read, tokenise, train, evaluate, save. Not here: measuring it.

Example:
    python trainer_peer.py '{"folder": "model", "data": "texts", "labels": ["bad", "good"], "out": "adapter", ...}'
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)


def classifier(folder: str | Path, labels: Sequence[str], lora: dict[str, Any] | None, seed: int) -> Any:
    """A classifier with a new head; with PEFT's LoRA where `lora` gives its config (r, lora_alpha, ...)."""
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=len(labels), id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)}
    )
    if lora is None:
        return model
    from peft import LoraConfig, TaskType, get_peft_model

    return get_peft_model(model, LoraConfig(task_type=TaskType.SEQ_CLS, **lora))


def encode(tokenizer: Any, texts: Sequence[str], labels: Sequence[int], max_length: int) -> list[dict[str, Any]]:
    """Rows for a Trainer: input_ids, attention_mask (and token types), labels."""
    found = tokenizer(list(texts), truncation=True, max_length=max_length)
    return [{key: found[key][i] for key in found} | {"labels": label} for i, label in enumerate(labels)]


def trainer(
    model: Any,
    tokenizer: Any,
    rows: list[dict[str, Any]],
    *,
    batch: int,
    bf16: bool,
    steps: int,
    learning_rate: float,
    seed: int,
    out: str | Path,
    weight_decay: float = 0.0,
    pad_to: int | None = None,
    callbacks: Sequence[Any] = (),
) -> Trainer:
    """A Trainer over `rows`.

    Args:
        bf16: mixed precision, as ``bf16=True``.
        pad_to: pad every text to so many tokens, as the paper did; None: to the longest of its batch.
        out: a folder; nothing is written to it while training.
    """
    arguments = TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=batch,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        max_steps=steps,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    padding: dict[str, Any] = {} if pad_to is None else {"padding": "max_length", "max_length": pad_to}
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(tokenizer, **padding),
        callbacks=list(callbacks),
    )


def main(order: dict[str, Any]) -> None:
    """One whole training; leaves the adapter and ``scores.json`` in ``order["out"]``."""
    labels: list[str] = order["labels"]
    tokenizer = AutoTokenizer.from_pretrained(order["folder"])
    splits = {}
    for split in ("train", "validation", "test"):
        lines = (Path(order["data"]) / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
        found = [json.loads(line) for line in lines if line]
        gold = [labels.index(row["label"]) for row in found]
        splits[split] = encode(tokenizer, [row["text"] for row in found], gold, order["max_length"])
    model = classifier(order["folder"], labels, order["lora"], order["seed"])
    keys = ("batch", "bf16", "steps", "learning_rate", "weight_decay", "seed", "out")
    run = trainer(model, tokenizer, splits["train"], **{key: order[key] for key in keys})
    run.train()
    scores = {}
    for split in ("validation", "test"):
        found_labels = run.predict(splits[split])
        hits = found_labels.predictions.argmax(-1) == found_labels.label_ids
        scores[split] = {"accuracy": float(hits.mean()), "n": len(hits)}
    model.save_pretrained(order["out"])
    tokenizer.save_pretrained(order["out"])
    scores["steps"] = run.state.global_step
    (Path(order["out"]) / "scores.json").write_text(json.dumps(scores), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
