"""Which tokens a masked language model is asked for: 15 of 100, masked anew at every visit (Devlin et al. 2019).

Of the chosen tokens 80 % become [MASK], 10 % a random token, 10 % stay. Not here: the loss.

Example:
    >>> ids = np.array([[2, 7, 8, 9, 3]])
    >>> masked, chosen = mask_tokens(ids, ids > 3, 4, np.arange(5, 20), numpy_stream(1, "masking"))
    >>> bool((masked[~chosen] == ids[~chosen]).all()), bool(chosen.any())
    (True, True)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tunelet.base.streams import numpy_stream as numpy_stream

Ids = NDArray[np.int64]


def mask_tokens(
    ids: Ids,
    maskable: NDArray[np.bool_],
    mask_id: int,
    draws: Ids,
    stream: np.random.Generator,
    *,
    share: float = 0.15,
    as_mask: float = 0.8,
    as_random: float = 0.1,
) -> tuple[Ids, NDArray[np.bool_]]:
    """Choose tokens and hide them.

    Args:
        ids: (B, L) tokens.
        maskable: (B, L), where a token may be chosen: no special token, no padding.
        mask_id: id of [MASK].
        draws: ids from which random tokens are drawn.
        stream: what is drawn comes from it.
        share: chance of each maskable token to be chosen. At least one is chosen in a text that has one.
        as_mask, as_random: of those, the chance to be masked and to be replaced; the rest stay.

    Returns:
        (B, L) ids with the chosen hidden, and where they are.
    """
    lots = np.where(maskable, stream.random(ids.shape), np.inf)
    chosen = lots < share
    none = ~chosen.any(1) & maskable.any(1)
    chosen[np.flatnonzero(none), lots.argmin(1)[none]] = True
    fate = stream.random(ids.shape)
    random = stream.choice(draws, ids.shape)
    hidden = np.where(chosen & (fate < as_mask), mask_id, ids)
    hidden = np.where(chosen & (fate >= as_mask) & (fate < as_mask + as_random), random, hidden)
    return hidden, chosen
