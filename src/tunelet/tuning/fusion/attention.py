"""Fusion over the outputs of experts: which of them helps, asked by attention for each text.

With v_k the masked mean of expert k's last hidden state, v_0 that of the plain base, and one norm at each place,

    e_k = LN(v_k)        Y = attention(Q, K = V = (e_1 ... e_K))        a = LN(Y, or its mean over k)
    b = FFN(LN(v_0))     z = LN(a + b)                                  logits = W z + c

query: self   Q = (e_1 ... e_K): experts attend to each other, Y is their mean (the published way)
query: task   Q = W_q LN(v_0) + b_q: one query; b_q is the task's own, W_q lets the text change it
residual: own logits = W (u + g * z) + c; u is what the last layer of the target's own adapter sees, g starts at 0

With `head: expert` besides, W and c start as that adapter's: the fusion starts as the single-task adapter, and learns
what to add.
Attention runs over the experts of one text, never over the texts of a batch. In the place of attention there may be the
mean of the experts, or a feed-forward part of as many parameters. All is a function of (B, K, H) and (B, H), so
that a fusion trains on vectors that were computed once (`vectors`). Not here: inside layers (`layer_fusion`).

Example:
    >>> head = OutputFusion(FusionSettings(heads=2), width=8, experts=3, labels=2, seed=1)
    >>> fused = head(torch.zeros(5, 3, 8), torch.zeros(5, 8))
    >>> fused.logits.shape, fused.weights.shape
    (torch.Size([5, 2]), torch.Size([5, 3]))
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from tunelet.base.errors import InputError, Problem
from tunelet.base.streams import torch_stream
from tunelet.tuning.fusion.settings import FusionSettings


@dataclass(frozen=True, eq=False)
class Fused:
    """What a fusion says to B texts.

    Attributes:
        logits: (B, C).
        weights: (B, K), how much each expert counted, mean over heads and queries; rows sum to 1. None where the fusion
            gives experts no weights.
        heads: (B, h, Q, K), the same for each head and query; Q is K for `query: self`, else 1. None as `weights`.
    """

    logits: Tensor
    weights: Tensor | None
    heads: Tensor | None


class ExpertAttention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, eq. 1) of some queries over the K experts of one text.

    Args:
        width: H, of queries, experts and result.
        dim: of all heads together.
        heads: h; divides `dim`.
        temperature: divides the scores beside sqrt(dim / h).
        dropout: on the weights.
    """

    def __init__(self, width: int, *, dim: int, heads: int, temperature: float = 1.0, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise InputError(Problem(f"{heads} heads do not divide the width {dim}", field="heads"))
        self.heads, self.dropout = heads, dropout
        self.scale = (dim // heads) ** -0.5 / temperature
        self.query, self.key, self.value = (nn.Linear(width, dim) for _ in range(3))
        self.out = nn.Linear(dim, width)

    def forward(self, queries: Tensor, experts: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (B, Q, H) over experts (B, K, H): (B, Q, H), and weights (B, h, Q, K)."""
        q, k, v = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, h, Q or K, dim / h)
            for linear, x in ((self.query, queries), (self.key, experts), (self.value, experts))
        )
        weights = (q @ k.transpose(2, 3) * self.scale).softmax(-1)
        mixed = dropout(weights, self.dropout, self.training) @ v
        found: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return found, weights


class OutputFusion(nn.Module):
    """The fusion with the task's last layer.

    Args:
        settings: of `level: output`.
        width: H.
        experts: K, the plain base not counted.
        labels: C.
        seed: of the run; what is drawn comes from its stream "fusion".

    Raises:
        InputError: heads that do not divide the width.
    """

    def __init__(self, settings: FusionSettings, *, width: int, experts: int, labels: int, seed: int) -> None:
        super().__init__()
        self.settings, self.width, self.experts = settings, width, experts
        state = torch.get_rng_state()  # torch's layers draw at once; all is drawn again below
        dim = settings.dim or width
        self.norm_experts, self.norm_fused, self.norm_base, self.norm_sum = (nn.LayerNorm(width) for _ in range(4))
        self.mix: nn.Module | None = None
        if settings.kind == "attention":
            self.mix = ExpertAttention(
                width, dim=dim, heads=settings.heads, temperature=settings.temperature, dropout=settings.dropout
            )
        elif settings.kind != "mean":
            inputs = width if settings.kind == "ffn-mean" else experts * width
            self.mix = _as_large(inputs, width, 3 * (width + 1) * dim + (dim + 1) * width)
        self.base = nn.Linear(width, width) if settings.inner is None else _feed_forward(width, settings.inner, width)
        self.classifier = nn.Linear(width, labels)
        self.gate = nn.Parameter(torch.zeros(width)) if settings.residual == "own" else None
        _draw(self, seed)
        torch.set_rng_state(state)

    def start_from(self, weight: Tensor, bias: Tensor | None) -> None:
        """Let the last layer start as another: (C, H) and (C,).

        Raises:
            InputError: the shapes are others.
        """
        start_layer(self.classifier, weight, bias)

    def forward(self, experts: Tensor, base: Tensor, own: Tensor | None = None) -> Fused:
        """Pooled vectors of the experts (B, K, H) and of the plain base (B, H).

        Args:
            own: (B, H), what the last layer of the target's own adapter sees; for `residual: own` alone.

        Raises:
            InputError: not as many experts as the fusion was made for, or no `own` of this width.
        """
        expect_experts(experts, self.experts, self.width)
        e, base = self.norm_experts(experts), self.norm_base(base)
        mixed, heads = self._mixed(e, base)
        z = self.norm_sum(self.norm_fused(mixed) + self.base(base))
        if self.gate is not None:
            z = expect_own(own, z) + self.gate * z
        logits = self.classifier(dropout(z, self.settings.dropout, self.training))
        if heads is None and self.settings.kind == "mean":
            return Fused(logits, e.new_full(e.shape[:2], 1 / self.experts), None)
        return Fused(logits, None if heads is None else heads.mean((1, 2)), heads)

    def _mixed(self, e: Tensor, base: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, H) of all experts, and the weights of attention."""
        if isinstance(self.mix, ExpertAttention):
            mixed, weights = self.mix(e if self.settings.query == "self" else base[:, None], e)
            return mixed.mean(1), weights
        mean = e.mean(1)
        if self.mix is None:
            return mean, None
        return self.mix(mean if self.settings.kind == "ffn-mean" else e.flatten(1)), None

    @property
    def parameter_count(self) -> int:
        """All that trains."""
        return sum(parameter.numel() for parameter in self.parameters())


def expect_experts(vectors: Tensor, experts: int, width: int) -> None:
    """Refuse vectors that are not (B, experts, width).

    Raises:
        InputError: they are not.
    """
    if vectors.shape[1:] != (experts, width):
        raise InputError(f"expected {(experts, width)} experts and width, found {tuple(vectors.shape[1:])}")


def expect_own(own: Tensor | None, like: Tensor) -> Tensor:
    """Refuse vectors of the target's own adapter that are missing, or have another shape than `like`.

    Raises:
        InputError: they are, or have.
    """
    if own is None or own.shape != like.shape:
        given = None if own is None else tuple(own.shape)
        raise InputError(f"residual: own needs vectors {tuple(like.shape)} of the own adapter, found {given}")
    return own


def start_layer(layer: nn.Linear, weight: Tensor, bias: Tensor | None) -> None:
    """Let a last layer start as the own adapter's: (C, H) and (C,).

    Raises:
        InputError: the shapes are others.
    """
    if weight.shape != layer.weight.shape:
        message = f"the adapter's last layer is {tuple(weight.shape)}, the fusion's {tuple(layer.weight.shape)}"
        raise InputError(Problem(message, field="fusion.head", hint="take head: fresh"))
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.zeros_like(layer.bias) if bias is None else bias)


def _feed_forward(inputs: int, inner: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, inner), nn.GELU(), nn.Linear(inner, outputs))


def _as_large(inputs: int, outputs: int, parameters: int) -> nn.Sequential:
    """A feed-forward part with as nearly `parameters` parameters as its hidden width allows."""
    each = inputs + 1 + outputs  # of one hidden unit
    return _feed_forward(inputs, max(1, round((parameters - outputs) / each)), outputs)


def _draw(module: nn.Module, seed: int) -> None:
    """Matrices from U(-1, 1) sqrt(6 / (in + out)) (Glorot and Bengio 2010), biases 0; norms as they are."""
    stream = torch_stream(seed, "fusion")
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight, generator=stream)
                nn.init.zeros_(part.bias)
