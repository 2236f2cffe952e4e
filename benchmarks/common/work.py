"""The arithmetic that a training step cannot do without, in FLOP: the numerator of a share of peak.

Counted (a multiplication and an addition are two):

- forward: each product with a weight, 2 x inputs x outputs per row; scores and context, 4 L^2 H per text and layer;
- backward: the gradient of a product's input, as much again, where anything before it trains; the gradient of a
  weight, as much again, where it trains; attention, 8 L^2 H;
- LoRA: its two small products forward, and the four of the backward pass.

Rows are real tokens, not padding. In the last layer a classifier looks at the first token alone, so there everything
but keys and values has one row per text. Not counted: what is not a product (norms, softmax, gelu, dropout, the
optimiser), what is computed twice to save memory, casts, padding. So no implementation looks better for doing more.

Example:
    >>> shape = Shape(hidden=4, inner=8, layers=1, classes=2, pooler=False)
    >>> needed_flops(shape, Trained(whole=False), Block(texts=1, tokens=1, squares=1))  # forward, and the head's dW
    304
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunelet.tuning.settings import TuningSettings

_QKV = ("query", "key", "value")
_DENSE = ("out", "up", "down", "pooler")


@dataclass(frozen=True)
class Shape:
    """Sizes of a BERT-like classifier: widths H and F, layers, labels, and whether it has a pooler (H x H)."""

    hidden: int
    inner: int
    layers: int
    classes: int
    pooler: bool = True


@dataclass(frozen=True)
class Trained:
    """What trains: the whole model, or a low-rank update of some products (name -> rank). The head always does."""

    whole: bool
    ranks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """What was gone through: texts, their tokens, and the sum of the squares of their lengths."""

    texts: int
    tokens: int
    squares: int


def shape_of(config: Any, classes: int) -> Shape:
    """Sizes from a transformers config."""
    return Shape(config.hidden_size, config.intermediate_size, config.num_hidden_layers, classes)


def trained_by(tuning: TuningSettings) -> Trained:
    """What these settings train; presets of targets only."""
    if tuning.method == "full":
        return Trained(whole=True)
    names = {
        "qv": ("query", "value"),
        "qkv": _QKV,
        "attention": _QKV,
        "qkv+dense": _QKV + _DENSE,
        "attention+linear": _QKV + _DENSE,
    }
    if not isinstance(tuning.targets, str) or tuning.targets not in names:
        raise ValueError(f"the work of targets {tuning.targets!r} is not known; known: {', '.join(names)}")
    return Trained(whole=False, ranks=dict.fromkeys(names[tuning.targets], tuning.r))


def needed_flops(shape: Shape, trained: Trained, block: Block) -> int:
    """FLOP of forward and backward passes over the texts of `block`."""
    count = _Count(trained, below=trained.whole)
    h, f = shape.hidden, shape.inner
    for layer in range(shape.layers):
        last = layer == shape.layers - 1
        rows = block.texts if last else block.tokens
        count.together({"query": rows, "key": block.tokens, "value": block.tokens}, h, h)
        pairs = block.tokens if last else block.squares
        count.total += 4 * h * pairs + (8 * h * pairs if count.below else 0)
        count.together({"out": rows}, h, h)
        count.together({"up": rows}, h, f)
        count.together({"down": rows}, f, h)
    if shape.pooler:
        count.together({"pooler": block.texts}, h, h)
    head = 2 * h * shape.classes * block.texts
    return count.total + head * (3 if count.below else 2)


class _Count:
    """Adds up products in the order of the forward pass.

    Attributes:
        below: whether anything trains before the next product, so that its input needs a gradient.
        total: FLOP so far.
    """

    def __init__(self, trained: Trained, *, below: bool) -> None:
        self.trained, self.below, self.total = trained, below, 0

    def together(self, rows_of: Mapping[str, int], inputs: int, outputs: int) -> None:
        """Products that share an input."""
        for name, rows in rows_of.items():
            product = 2 * inputs * outputs * rows
            self.total += product * (1 + int(self.below) + int(self.trained.whole))
            rank = self.trained.ranks.get(name, 0)
            # forward x A and a B; backward da and dB over the outputs, dA and, where it is needed, dx over the inputs
            self.total += 2 * rank * rows * (inputs * (2 + int(self.below)) + outputs * 3)
        self.below = self.below or any(name in self.trained.ranks for name in rows_of)
