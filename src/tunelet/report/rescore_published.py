"""Word error rates that others published for rescoring lists of LibriSpeech. Not here: anything that we measured.

Example:
    >>> [one.system for one in PUBLISHED][:1]
    ['masked language model, RoBERTa large, 100-best']
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedWer:
    """One published comparison, in percent as printed.

    Attributes:
        before, after: word error rates, or "" where only the relative reduction is known.
        relative: relative reduction; ours, from the two rates, where both are printed; or "".
    """

    system: str
    set: str
    before: str
    after: str
    relative: str
    source: str


_SALAZAR = "Salazar et al. 2020"
_BERT = "Xu et al. 2022 (RescoreBERT)"
PUBLISHED = (
    PublishedWer("masked language model, RoBERTa large, 100-best", "test-clean", "7.26", "5.05", "30.4", _SALAZAR),
    PublishedWer("masked language model, RoBERTa large, 100-best", "test-other", "20.37", "16.79", "17.6", _SALAZAR),
    PublishedWer("oracle of these 100-best lists", "test-clean", "7.26", "2.81", "", _SALAZAR),
    PublishedWer("oracle of these 100-best lists", "test-other", "20.37", "12.85", "", _SALAZAR),
    PublishedWer("[CLS] scorer with discriminative training, over a BERT baseline", "test-clean", "", "", "6.6", _BERT),
    PublishedWer("[CLS] scorer with discriminative training, over a BERT baseline", "test-other", "", "", "3.4", _BERT),
)
