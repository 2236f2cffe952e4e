"""What a recogniser is, and how one is built from its settings. Not here: the recognisers, or many files (`batch`).

Example:
    >>> class Deaf:
    ...     identity = "deaf-1"
    ...     def nbest(self, audio): return (Hypothesis(""),)
    >>> isinstance(Deaf(), Recogniser)
    True
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from tunelet.data.audio import Audio
from tunelet.data.nbest import Hypothesis
from tunelet.data.recognisers.settings import HuggingFaceSettings, RecogniserSettings


@runtime_checkable
class Recogniser(Protocol):
    """Turns sound into hypotheses.

    Attributes:
        identity: a text that changes whenever the lists may change; names what is kept in a cache.
    """

    identity: str

    def nbest(self, audio: Audio) -> tuple[Hypothesis, ...]:
        """The different texts that were perhaps said, at least one, with log probabilities (higher is better).

        The first is the recogniser's own answer, whatever its score; the others follow by score. An utterance may
        depend on nothing that was heard before it.
        """


def identity(settings: RecogniserSettings) -> str:
    """The identity that the recogniser of these settings will have, without loading its models.

    Raises:
        MissingExtraError: its package is not installed.
        InputError: a model cannot be found.
    """
    if isinstance(settings, HuggingFaceSettings):
        from tunelet.data.recognisers.huggingface import huggingface_identity

        return huggingface_identity(settings)
    from tunelet.data.recognisers.sphinx import sphinx_identity

    return sphinx_identity(settings)


def build(settings: RecogniserSettings) -> Recogniser:
    """The recogniser that the settings name, with its models loaded.

    Raises:
        MissingExtraError: its package is not installed.
        InputError: a model cannot be found or loaded.
    """
    if isinstance(settings, HuggingFaceSettings):
        from tunelet.data.recognisers.huggingface import HuggingFace

        return HuggingFace(settings)
    from tunelet.data.recognisers.sphinx import PocketSphinx

    return PocketSphinx(settings)
