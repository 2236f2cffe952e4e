"""An encoder with one number for each text on top: g = w . h_[CLS] + c (RescoreBERT, Xu et al. 2022).

The head starts at zero, so that the second pass starts by changing nothing. There is no pooler and no dropout before
it. Not here: scoring lists (`models.scoring.cls_scorer`), what trains (`tuning`), losses.

Example:
    >>> model = build_rescorer(base)                                            # doctest: +SKIP
    >>> model(input_ids=ids_BL, attention_mask=mask_BL).logits.shape            # doctest: +SKIP
    torch.Size([8, 1])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel

from tunelet.models.bases import Base
from tunelet.models.declared import declare
from tunelet.models.fingerprint import backbone_prefix
from tunelet.models.loading import from_base, refuse_lost

#: The name of the head, which PEFT knows as one.
HEAD = "score"


@dataclass(frozen=True, eq=False)
class RescorerOutput:
    """What the model gives.

    Attributes:
        logits: (B, 1), g of each text.
        features: (B, H), the [CLS] vectors that the head sees.
    """

    logits: Tensor
    features: Tensor


class RescorerForSequenceClassification(nn.Module):
    """The backbone and the head. Its class name tells the fast path that only the first token is looked at.

    Args:
        backbone: an encoder of `transformers`.
        prefix: what the backbone is called inside models with a head, such as "bert".
    """

    def __init__(self, backbone: Any, prefix: str) -> None:
        super().__init__()
        self.config = backbone.config
        self.base_model_prefix = prefix
        setattr(self, prefix, backbone)
        self.score = nn.Linear(int(backbone.config.hidden_size), 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **others: Any
    ) -> RescorerOutput:
        """g of each text, from ids and mask (B, L)."""
        # PEFT passes on arguments that a classifier of transformers would take
        known = {key: value for key, value in others.items() if key in ("token_type_ids", "position_ids")}
        hidden = getattr(self, self.base_model_prefix)(input_ids=input_ids, attention_mask=attention_mask, **known)
        first = hidden.last_hidden_state[:, 0]
        return RescorerOutput(self.score(first), first)


def build_rescorer(base: Base, *, attention: str = "sdpa") -> RescorerForSequenceClassification:
    """The base with a zero head, fp32, on the CPU, in evaluation mode.

    Raises:
        BaseModelError: the base is no encoder that transformers can load without a head, or its weights do not fit.
    """
    config = type(base.config).from_dict(base.config.to_dict())
    pooled = (
        {"add_pooling_layer": False} if config.model_type in ("bert", "roberta", "xlm-roberta", "camembert") else {}
    )
    backbone, report = from_base(AutoModel, base, config, attention, what="rescorer", **pooled)
    refuse_lost([name for name in report["missing_keys"] if "pooler." not in name], base)
    model = RescorerForSequenceClassification(backbone, backbone_prefix(config) or "backbone")
    declare(model, fresh_modules=(HEAD,), task_type="SEQ_CLS")
    return model.eval()
