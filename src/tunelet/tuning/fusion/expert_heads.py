"""Fusion over what experts say: each has a last layer of its own, and attention says how much it counts.

With v_k the masked mean of expert k's last hidden state, v_0 that of the plain base, and one norm at each place,

    e_k = LN(v_k)        b = LN(v_0)        a = mean over heads of softmax_k((W_q b + b_q) . (W_k e_k + b_k) / sqrt(d))
    logits = S_0 b + c + K sum_k a_k S_k e_k [+ W u + d]

In the published fusion (`attention`) the vectors of all experts are mixed, and one last layer reads the mixture: much
to learn from few examples. Here the last layers S start at 0 and attention starts even, so that training begins as a
linear layer on all vectors side by side. In training mode an expert is left out now and then (`dropout`, a draw for
each text and expert): on the very examples that the target's own adapter was trained on it is right too often, and the
others would learn nothing beside it. With `residual: own` there is another term: u is what the last layer of that
adapter sees, W and d start as that layer (`head: expert`) or at 0, and a text's term is left out as often as an expert.
`uneven` is what `fusion.evenness` puts into the loss.

Example:
    >>> head = ExpertHeads(FusionSettings(kind="heads", query="task", heads=2), width=8, experts=3, labels=2, seed=1)
    >>> fused = head(torch.zeros(5, 3, 8), torch.zeros(5, 8))
    >>> fused.weights[0]
    tensor([0.3333, 0.3333, 0.3333], grad_fn=<SelectBackward0>)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from tunelet.base.errors import InputError, Problem
from tunelet.base.streams import torch_stream
from tunelet.tuning.fusion.attention import Fused, OutputFusion, expect_experts, expect_own, start_layer
from tunelet.tuning.fusion.settings import FusionSettings


class ExpertHeads(nn.Module):
    """The fusion with a last layer of each expert.

    Args:
        settings: of `kind: heads`.
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
        dim = settings.dim or width
        if dim % settings.heads:
            raise InputError(Problem(f"{settings.heads} heads do not divide the width {dim}", field="heads"))
        state = torch.get_rng_state()  # torch's layers draw at once; all is drawn again below
        self.scale = (dim // settings.heads) ** -0.5 / settings.temperature
        self.norm_experts, self.norm_base = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, dim), nn.Linear(width, dim)
        self.says = nn.Parameter(torch.zeros(experts, labels, width))
        self.base = nn.Linear(width, labels)
        self.own = nn.Linear(width, labels) if settings.residual == "own" else None
        with torch.no_grad():
            for layer in (self.query, self.base, *([] if self.own is None else [self.own])):
                layer.weight.zero_()
                layer.bias.zero_()
            nn.init.xavier_uniform_(self.key.weight, generator=torch_stream(seed, "fusion"))
            self.key.bias.zero_()
        torch.set_rng_state(state)

    def forward(self, experts: Tensor, base: Tensor, own: Tensor | None = None) -> Fused:
        """Pooled vectors of the experts (B, K, H) and of the plain base (B, H).

        Args:
            own: (B, H), what the last layer of the target's own adapter sees; for `residual: own` alone.

        Raises:
            InputError: not as many experts as the fusion was made for, or no `own` of this width.
        """
        expect_experts(experts, self.experts, self.width)
        e, b = self.norm_experts(experts), self.norm_base(base)
        asked = self.query(b).unflatten(-1, (self.settings.heads, -1))  # (B, h, d)
        keys = self.key(e).unflatten(-1, (self.settings.heads, -1))  # (B, K, h, d)
        heads = (torch.einsum("bhd,bkhd->bhk", asked, keys) * self.scale).softmax(-1)
        weights = heads.mean(1)
        counted = dropout(weights, self.settings.dropout, self.training) * self.experts
        logits = torch.einsum("bk,bkh,kch->bc", counted, e, self.says) + self.base(b)
        if self.own is not None:
            said = self.own(expect_own(own, b))
            logits = logits + dropout(torch.ones_like(said[:, :1]), self.settings.dropout, self.training) * said
        return Fused(logits, weights, heads[:, :, None])

    def start_from(self, weight: Tensor, bias: Tensor | None) -> None:
        """Let the last layer on `own` start as another: (C, H) and (C,).

        Raises:
            InputError: the shapes are others, or there is no such layer.
        """
        if self.own is None:
            raise InputError(Problem("without residual: own there is no layer to start", field="fusion.head"))
        start_layer(self.own, weight, bias)

    @property
    def parameter_count(self) -> int:
        """All that trains."""
        return sum(parameter.numel() for parameter in self.parameters())


def uneven(weights: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence, in nats, of weights (B, K) from even ones: 0 to log K."""
    return (weights * (weights * weights.shape[1]).clamp(min=1e-9).log()).sum(1).mean()


def output_fusion(
    settings: FusionSettings, *, width: int, experts: int, labels: int, seed: int
) -> OutputFusion | ExpertHeads:
    """The untrained fusion over outputs that the settings name."""
    kind = ExpertHeads if settings.kind == "heads" else OutputFusion
    return kind(settings, width=width, experts=experts, labels=labels, seed=seed)
