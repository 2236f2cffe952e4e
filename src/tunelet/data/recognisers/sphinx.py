"""The first pass by PocketSphinx 5 (extra ``offline``), with lists from its word lattice. Not here: many files.

What was found about the package (5.1), and why the lists are not those of its `nbest()`:

- `nbest()` gives silence a language score as if it were an unknown word: thousands of nats for each. So it prefers
  paths around silences, its first entry is worse than `hyp()`, and it is not sorted.
- `score` is exp of the log score in units of 1024 nats, so `1024 * log(score)` is the score in nats; `prob` is
  always 1 in `nbest()`.
- A decoder that has heard something before scores the next utterance a little differently (by some nats; now and then
  its answer changes), and nothing in its interface puts it back. So each utterance is decoded in a forked child of a
  process whose decoder has heard nothing: the same sound gives the same list, in any order and any process.

Here the lattice is searched with the decoder's own trigram model (`lattice.n_best`). `hyp()` is put first even where
another path scores better, because it is the recogniser's answer. A score is the log probability of the words plus
that of the sound divided by `language_weight`: on the scale of a language model.

Example:
    >>> PocketSphinx(SphinxSettings(n=10)).nbest(read_audio(Path("a.wav")))[0].text          # doctest: +SKIP
    'the sea is calm'
"""

from __future__ import annotations

import json
import math
import os
import signal
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tunelet.base.errors import DataError, InputError, MissingExtraError, Problem
from tunelet.base.files import digest, sha256_file
from tunelet.data.audio import RATE, Audio
from tunelet.data.nbest import Hypothesis
from tunelet.data.recognisers.lattice import Lattice, n_best, parse_lattice, plain_text
from tunelet.data.recognisers.settings import SphinxSettings

# To be raised when the same settings give other lists.
_VERSION = 1


class PocketSphinx:
    """A decoder with its models. See `protocol.Recogniser`.

    Raises:
        MissingExtraError: the package is not installed.
        InputError: the language model cannot be read.
    """

    def __init__(self, settings: SphinxSettings) -> None:
        try:
            import pocketsphinx
        except ImportError:
            raise MissingExtraError("offline", "recognising speech with pocketsphinx") from None
        self.settings = settings
        self.identity = sphinx_identity(settings)
        options: dict[str, Any] = {
            "loglevel": "FATAL",
            "samprate": RATE,
            "fwdflat": settings.two_passes,
            "maxhmmpf": settings.active,
            "pl_window": settings.lookahead,
            "bestpathlw": settings.language_weight,
        }
        if settings.language_model is not None:
            options["lm"] = settings.language_model
        try:
            self._decoder = pocketsphinx.Decoder(**options)
        except RuntimeError:
            hint = "expected an n-gram model: ARPA text, or binary as pocketsphinx_lm_convert writes it"
            problem = Problem("cannot be loaded as a language model", settings.language_model, hint=hint)
            raise InputError(problem) from None
        self._model = self._decoder.get_lm()
        self._penalty = math.log(float(self._decoder.config["wip"]))
        self._nat = math.log(1.0001)  # its log probabilities are integers in this base

    def nbest(self, audio: Audio) -> tuple[Hypothesis, ...]:
        """Its answer, and what else the lattice holds.

        Raises:
            DataError: the decoder failed on this sound.
        """
        sound = audio.pcm16()
        rows = _in_child(lambda: [[one.text, one.score] for one in self._decode(sound)])
        if rows is None:
            raise DataError(Problem("pocketsphinx failed on this sound", audio.name))
        return tuple(Hypothesis(text, score) for text, score in rows)

    def _decode(self, sound: bytes) -> tuple[Hypothesis, ...]:
        decoder = self._decoder
        decoder.start_utt()
        decoder.process_raw(sound, full_utt=True)
        decoder.end_utt()
        answer = decoder.hyp()
        first = plain_text(answer.hypstr) if answer is not None and answer.hypstr else ""
        lattice = self._lattice() if first else None
        if lattice is None:
            return (Hypothesis(first),)
        scores = {path.text: path.total for path in self._paths(lattice, self.settings.n, None)}
        if first not in scores:
            own = self._paths(lattice, 1, first.split())
            # a lattice need not hold the answer: then it is as good as the worst that was found
            scores[first] = own[0].total if own else min(scores.values(), default=0.0)
        others = [text for text in scores if text != first]
        kept = [first, *others[: self.settings.n - 1]]
        return tuple(Hypothesis(text, scores[text] / self.settings.language_weight) for text in kept)

    def _paths(self, lattice: Lattice, n: int, only: list[str] | None) -> list[Any]:
        weight = self.settings.language_weight
        options: dict[str, Any] = {"weight": weight, "penalty": self._penalty, "beam": self.settings.beam}
        return list(n_best(lattice, n, self._language, **options, only=only))

    def _language(self, history: tuple[str, ...], word: str) -> float:
        return float(self._model.prob([word, *reversed(history)])) * self._nat

    def _lattice(self) -> Lattice | None:
        lattice = self._decoder.get_lattice()
        if lattice is None:
            return None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lattice"
            lattice.write(str(path))
            return parse_lattice(path.read_text(encoding="utf-8"))


def _in_child(work: Callable[[], list[Any]]) -> list[Any] | None:
    """What `work` returns in a forked child, as JSON values; None if it did not come to its end."""
    receive, send = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside threads: the child takes no lock that one of them could hold
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(receive)
            with os.fdopen(send, "wb") as out:
                out.write(json.dumps(work()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(send)
    try:
        with os.fdopen(receive, "rb") as answer:
            data = answer.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    rows: list[Any] | None = json.loads(data) if status == 0 else None
    return rows


def sphinx_identity(settings: SphinxSettings) -> str:
    """Changes with the settings, the content of the language model and the version of the package."""
    model = settings.language_model
    if model is not None and not Path(model).is_file():
        raise InputError(Problem("there is no such language model", model))
    try:
        package = version("pocketsphinx")
    except PackageNotFoundError:
        raise MissingExtraError("offline", "recognising speech with pocketsphinx") from None
    parts = [
        settings.model_dump(exclude={"language_model"}),
        package,
        None if model is None else sha256_file(Path(model)),
    ]
    return digest([_VERSION, *parts])
