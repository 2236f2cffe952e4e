"""The first pass by a speech model of transformers: with CTC (wav2vec2, HuBERT), or one that writes (Whisper).

CTC models are searched by `ctc.prefix_beam_search`; the others by the beam search of transformers. Scores are total
log probabilities, not divided by the length. Not here: training such models, or sound longer than they read at once.

Example:
    >>> recogniser = HuggingFace(HuggingFaceSettings(model="facebook/wav2vec2-base-960h"))     # doctest: +SKIP
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tunelet.base.errors import BaseModelError, DataError, InputError, Problem
from tunelet.base.files import digest, sha256_file
from tunelet.data.audio import RATE, Audio
from tunelet.data.nbest import Hypothesis
from tunelet.data.recognisers.ctc import prefix_beam_search
from tunelet.data.recognisers.settings import HuggingFaceSettings

# To be raised when the same settings give other lists.
_VERSION = 1


class HuggingFace:
    """A speech model and its processor. See `protocol.Recogniser`.

    Raises:
        BaseModelError: the model cannot be loaded, or is none for speech.
        InputError: the settings contradict each other.
    """

    def __init__(self, settings: HuggingFaceSettings) -> None:
        import torch
        import transformers

        if settings.beams < settings.n:
            hint = f"set beams to at least {settings.n}"
            raise InputError(Problem(f"{settings.beams} beams cannot give {settings.n} hypotheses", hint=hint))
        self.settings = settings
        config = _config(settings)
        names = " ".join(getattr(config, "architectures", None) or ())
        kind = "AutoModelForCTC" if "CTC" in names else "AutoModelForSpeechSeq2Seq"
        try:
            self._model: Any = getattr(transformers, kind).from_pretrained(settings.model, dtype=torch.float32)
            self._processor: Any = transformers.AutoProcessor.from_pretrained(settings.model)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise _unusable(settings, error) from None
        wanted = int(getattr(self._processor.feature_extractor, "sampling_rate", RATE))
        if wanted != RATE:
            raise BaseModelError(Problem(f"hears {wanted} samples a second, expected {RATE}", settings.model))
        self._model.eval().to(settings.device)
        self._ctc = kind == "AutoModelForCTC"
        self.identity = huggingface_identity(settings)

    def nbest(self, audio: Audio) -> tuple[Hypothesis, ...]:
        """Its answer, and what else its search kept; texts that agree are one, with the best of their scores."""
        import torch

        if audio.seconds > self.settings.max_seconds:
            what = f"{audio.seconds:.1f} seconds of sound, expected at most {self.settings.max_seconds:g}"
            raise DataError(Problem(what, audio.name, hint="cut it into utterances, or raise max_seconds"))
        with torch.inference_mode():
            found = self._by_ctc(audio) if self._ctc else self._by_writing(audio)
        best: dict[str, float] = {}
        for text, score in found:
            text = " ".join(text.split())
            best[text] = max(score, best.get(text, score))
        first = next(iter(best), "")
        others = sorted((text for text in best if text != first), key=lambda text: (-best[text], text))
        kept = [first, *others[: self.settings.n - 1]]
        return tuple(Hypothesis(text, best.get(text, 0.0)) for text in kept)

    def _by_ctc(self, audio: Audio) -> list[tuple[str, float]]:
        inputs = self._processor(audio.samples, sampling_rate=RATE, return_tensors="pt").to(self.settings.device)
        try:
            logits = self._model(**inputs).logits[0]
        except RuntimeError as error:  # shorter than the model's first window
            if audio.seconds < 0.1:
                return [("", 0.0)]
            raise DataError(Problem(f"the model cannot hear it: {error}", audio.name)) from error
        frames = logits.double().log_softmax(-1).cpu().numpy()
        tokenizer = self._processor.tokenizer
        texts = prefix_beam_search(
            np.asarray(frames),
            beams=self.settings.beams,
            blank=int(tokenizer.pad_token_id),
            symbols=self.settings.symbols,
        )
        # a prefix holds no repeats to be collapsed: group_tokens would take two l for one
        return [
            (tokenizer.decode(list(prefix), group_tokens=False, skip_special_tokens=True), score)
            for prefix, score in texts
        ]

    def _by_writing(self, audio: Audio) -> list[tuple[str, float]]:
        import torch
        from transformers import GenerationMixin

        tokenizer, device = self._processor.tokenizer, self.settings.device
        inputs = self._processor(audio.samples, sampling_rate=RATE, return_tensors="pt").to(device)
        options: dict[str, Any] = {}
        prompt = self._prompt()
        if prompt:
            options["decoder_input_ids"] = torch.tensor([prompt], device=device)
        # Whisper's own `generate` gives the same text n times where n lists are asked for
        out = GenerationMixin.generate(
            self._model,
            **inputs,
            **options,
            num_beams=self.settings.beams,
            num_return_sequences=self.settings.n,
            do_sample=False,
            output_scores=True,
            return_dict_in_generate=True,
        )
        if self.settings.beams == 1:
            steps = self._model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
        else:
            steps = self._model.compute_transition_scores(out.sequences, out.scores, out.beam_indices)
        # after the end of a text the steps are 0; a forced or forbidden token may be -inf and is no choice of the model
        totals = torch.where(torch.isfinite(steps), steps, 0.0).sum(-1).tolist()
        return list(zip(tokenizer.batch_decode(out.sequences, skip_special_tokens=True), totals, strict=True))

    def _prompt(self) -> list[int]:
        tokenizer = self._processor.tokenizer
        if self.settings.language is not None and hasattr(tokenizer, "set_prefix_tokens"):
            tokenizer.set_prefix_tokens(language=self.settings.language, task="transcribe")
        return [int(token) for token in getattr(tokenizer, "prefix_tokens", None) or ()]


def huggingface_identity(settings: HuggingFaceSettings) -> str:
    """Changes with the settings, the model's files or revision on the hub, and the version of transformers."""
    folder = Path(settings.model)
    files: dict[str, str] = {}
    revision = None
    if folder.is_dir():
        files = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
    else:
        revision = getattr(_config(settings), "_commit_hash", None)
    # where it runs changes rounding only
    chosen = settings.model_dump(exclude={"device", "max_seconds"} | ({"model"} if files else set()))
    return digest([_VERSION, chosen, files, revision, version("transformers")])


def _config(settings: HuggingFaceSettings) -> Any:
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(settings.model)
    except (OSError, ValueError, KeyError) as error:
        raise _unusable(settings, error) from None


def _unusable(settings: HuggingFaceSettings, error: Exception) -> BaseModelError:
    said = str(error).strip().split("\n")[0][:200]
    hint = "expected a folder or hub name of a model with CTC, or one like Whisper, with its processor"
    return BaseModelError(Problem(f"cannot be loaded as a speech model: {said}", settings.model, hint=hint))
