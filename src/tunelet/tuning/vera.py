"""VeRA: two frozen random matrices that all modules share, and two trained vectors per module.

VeRA (Kopiczko et al. 2024, eq. 2): h = W x + diag(b) B diag(d) A x, with A and B drawn once and frozen, b = 0 and
d = `vera_initial` at the start. A and B are stored with the adapter, so that it does not hang on a random generator
being the same everywhere. There is no alpha / r.

Example:
    >>> attach_vera(model, TuningSettings(method="vera", r=256), plan)      # doctest: +SKIP
"""

from __future__ import annotations

from peft import VeraConfig
from torch import nn

from tunelet.base.streams import derive_seed
from tunelet.tuning.method import Attached, Method, Plan, attach_peft
from tunelet.tuning.settings import TuningSettings

_BIAS = {"none": "none", "all": "all", "adapted": "vera_only"}


def attach_vera(model: nn.Module, settings: TuningSettings, plan: Plan) -> Attached:
    """Attach the shared matrices (rank `settings.r`) and the vectors."""
    tuned = attach_peft(
        model,
        settings,
        plan,
        lambda common: VeraConfig(
            r=settings.r,
            vera_dropout=settings.dropout,
            d_initial=settings.vera_initial,
            bias=_BIAS[settings.bias],
            projection_prng_key=derive_seed(plan.seed, "adapter", "vera") % 2**31,
            save_projection=True,
            **common,
        ),
    )
    return Attached(tuned)


METHOD = Method(attach=attach_vera)
