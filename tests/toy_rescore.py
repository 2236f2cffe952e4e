"""Toy lists whose right words a scorer and an n-gram model can learn, and recipes over them."""

from __future__ import annotations

from pathlib import Path

from toy_nbest import nbest
from toy_sweep import Toy
from tunelet.base.streams import numpy_stream
from tunelet.data.nbest import NBest
from tunelet.data.nbest_files import write_nbest

#: three runs: no network, LoRA, full fine-tuning; four steps each in one thread
RECIPE = """\
system: rescore
name: toy-rescore
title: A toy
data:
  train: [train.jsonl]
  test: {{heard: heard.jsonl}}
  text: [book.txt]
  normalise: lower
  held_out: 0.4
model: {{base: {base}, max_length: 24}}
ngram: {{order: 2}}
training:
  epochs: 100
  max_steps: 4
  batch: {{size: 4}}
  learning_rate: 1e-2
  evaluate_every: 2
  threads: 1
  precision: fp32
runs:
  - name: ngram
    scorer: {{kind: none}}
  - name: lora
    tuning: {{method: lora, r: 2, dropout: 0.0}}
  - name: full
    tuning: {{method: full}}
"""
#: a word and what the recogniser takes it for
HEARD = (("cat", "mat"), ("dog", "do"), ("sat", "ran"), ("unhappy", "redo"))
BOOK = "The cat sat. A dog sat on the cat. The unhappy dog sat. A cat and the dog sat, unhappy. The dog, the cat.\n"


def toy_lists(name: str, count: int, *, speakers: int = 4, seed: int = 1) -> list[NBest]:
    """Lists of three hypotheses; the first pass prefers a wrong word in about half of them."""
    stream = numpy_stream(seed, name)
    lists = []
    for number in range(count):
        right, wrong = HEARD[number % len(HEARD)]
        frame = ("the {} sat", "a {} on the dog", "the dog the {}")[number // 4 % 3]
        ref, other = frame.format(right), frame.format(wrong)
        scores = sorted(stream.normal(-4.0, 1.0, size=3).tolist(), reverse=True)
        texts = [ref, other, f"{other} a"] if stream.random() < 0.5 else [other, ref, f"{other} a"]
        pairs = zip(texts, scores, strict=True)
        lists.append(nbest(f"{name}-{number}", ref, *pairs, speaker=f"{name}{number % speakers}"))
    return lists


def toy_files(folder: Path) -> Path:
    """The files of the recipe; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_nbest(folder / "train.jsonl", toy_lists("train", 24))
    write_nbest(folder / "heard.jsonl", toy_lists("heard", 12))
    (folder / "book.txt").write_text(BOOK * 3, encoding="utf-8")
    return folder


def make_rescore(folder: Path, base: Path) -> Toy:
    """A toy with nothing done."""
    data = toy_files(folder / "data")
    recipe = folder / "toy.yaml"
    recipe.write_text(RECIPE.format(base=base), encoding="utf-8")
    return Toy(recipe, data, folder / "out")
