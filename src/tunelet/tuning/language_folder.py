"""The folder of an adapted language model: what `tuning.folder` is for classifiers, and what loads it into a scorer.

It holds PEFT's files (a new head's modules included) or, under full fine-tuning, the whole model; `tunelet.json`; and
``vocabulary.safetensors`` with the ids that are kept, where the vocabulary was cut. It is published only after it was
loaded back over the fp32 base. The probes are scores of two sentences over the whole vocabulary, in nats a word. Not
here: training, scoring.

Example:
    >>> save_language_model(folder, tuned, base, "masked", kept)                    # doctest: +SKIP
    >>> load_language_model(folder).scorer().score([["the cat sat"]])               # doctest: +SKIP
    [array([-11.2])]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from tunelet.base.errors import AdapterError, Problem, TrainingError
from tunelet.base.files import publish_folder, write_json
from tunelet.base.settings import Field, Settings
from tunelet.models.bases import Base
from tunelet.models.language import Kind, build_causal_lm, build_masked_lm
from tunelet.models.scoring.causal import CausalScorer
from tunelet.models.scoring.pseudo_likelihood import PseudoLikelihood
from tunelet.models.scoring.scorer import encode
from tunelet.tuning import checks, manifest, stored
from tunelet.tuning.attach import attach_stored, load_whole
from tunelet.tuning.checks import Refusals
from tunelet.tuning.loaded import checked_tokenizer, file_entry, find_base, refuse_no_adapter
from tunelet.tuning.manifest import Stated
from tunelet.tuning.probes import PROBE_TEXTS, Probe
from tunelet.tuning.trainable import trainable_table
from tunelet.tuning.tuned import Tuned
from tunelet.tuning.whole import write_whole

VOCABULARY = "vocabulary.safetensors"
_BUILD = {"masked": build_masked_lm, "causal": build_causal_lm}
_WHOLE: dict[str, Any] = {"masked": AutoModelForMaskedLM, "causal": AutoModelForCausalLM}


class LanguageEntry(Settings):
    """What kind of language model a folder holds."""

    kind: Kind = Field(description="masked: each token from all others; causal: from what is left of it")
    kept: int | None = Field(description="tokens to which the vocabulary was cut (`vocabulary.safetensors`); null: all")


class LanguageManifest(Stated):
    """The content of a language model's `tunelet.json`."""

    language: LanguageEntry = Field(description="what it does")


@dataclass(frozen=True, eq=False)
class LoadedLanguageModel:
    """An adapted language model, ready to score.

    Attributes:
        model: fp32, on the CPU, in evaluation mode.
        tokenizer: fast tokenizer of the base.
        kind: "masked" or "causal".
        kept: sorted token ids to which the vocabulary was cut; None: all.
        max_length: longest input in tokens.
        base: None where the folder holds the whole model.
        manifest: what the folder says.
        overridden: problems that ``force`` ignored.
    """

    model: nn.Module
    tokenizer: Any
    kind: Kind
    kept: NDArray[np.int64] | None
    max_length: int
    base: Base | None
    manifest: LanguageManifest
    overridden: tuple[str, ...] = ()

    def scorer(self, texts: Iterable[str] = (), **options: Any) -> PseudoLikelihood | CausalScorer:
        """A scorer of the model's kind.

        Args:
            texts: what will be scored: their tokens are put back into a cut vocabulary, which otherwise refuses a text
                with another token. Scores of scorers with different `texts` do not compare then.
            options: as `PseudoLikelihood` or `CausalScorer` takes them.
        """
        kept = self.kept
        said = list(dict.fromkeys(texts))
        if kept is not None and said:
            found = encode(said, self.tokenizer, self.max_length, "truncate", special=False)
            kept = np.unique(np.concatenate([kept, *found.ids]))
        given = {"max_length": self.max_length, "kept": kept, **options}
        made = PseudoLikelihood if self.kind == "masked" else CausalScorer
        return made(self.model, self.tokenizer, **given)


def save_language_model(
    folder: Path,
    tuned: Tuned,
    base: Base,
    kind: Kind,
    kept: NDArray[np.int64] | None = None,
    *,
    scores: Mapping[str, Any] | None = None,
) -> LanguageManifest:
    """Save what was trained, check it by loading it back, and publish the folder whole.

    Args:
        folder: takes the place of what stands there.
        base: the base that `tuned` was built on; its fp32 weights are read again for the check.
        kept: sorted token ids to which the vocabulary was cut.
        scores: metrics to note in the manifest; JSON values.

    Raises:
        TrainingError: a tensor holds NaN or infinity; nothing is written then.
    """
    attention = str(getattr(tuned.model.config, "_attn_implementation", None) or "sdpa")
    counts = trainable_table(tuned.model)
    whole = tuned.is_whole_model
    with publish_folder(Path(folder)) as part:
        if whole:
            broken = stored.not_finite(dict(tuned.model.state_dict()))
            if broken:
                raise TrainingError(f"the model is not saved: {broken[0]} holds NaN or infinity")
            write_whole(part, tuned.model, base)
        else:
            stored.write_adapter(part, tuned.export(), base_name=base.portable_name, labels=())
        if kept is not None:
            (part / VOCABULARY).write_bytes(save({"kept": torch.from_numpy(np.asarray(kept, dtype=np.int32))}))
        refusals = Refusals(force=False)
        if whole:
            copy = load_whole(part, attention, refusals, _WHOLE[kind])
        else:
            copy = _over(base, part, kind, attention, refusals)
        written = LanguageManifest(
            format=manifest.FORMAT,
            kind="model" if whole else "adapter",
            method=tuned.settings.method,
            base=manifest.base_entry(base),
            language=LanguageEntry(kind=kind, kept=None if kept is None else len(kept)),
            max_length=base.max_length,
            attention=attention,
            scaling=checks.scalings(copy),
            trainable_parameters=counts.trainable,
            total_parameters=counts.total,
            files={
                path.relative_to(part).as_posix(): file_entry(path)
                for path in sorted(part.rglob("*"))
                if path.is_file()
            },
            probes=_probes(copy, base.tokenizer, kind, base.max_length),
            scores=None if scores is None else dict(scores),
        ).sealed()
        write_json(part / manifest.NAME, written.model_dump(mode="json"))
    return written


def load_language_model(folder: Path | str, *, base: str | None = None, force: bool = False) -> LoadedLanguageModel:
    """Load a folder that `save_language_model` wrote, checking every thing it says.

    Args:
        base: where the base is, if not where the folder says: hub name, folder, or "embedded:minilm".
        force: go on in spite of a failed check; the problems are listed in `overridden`.

    Raises:
        AdapterError: a check failed, or the folder holds no language model of ours.
        BaseModelError: the base is not found.
    """
    folder = Path(folder)
    refuse_no_adapter(folder)
    if not (folder / manifest.NAME).is_file():
        hint = "an adapter of plain PEFT does not say what kind of language model it is for"
        raise AdapterError(Problem(f"no {manifest.NAME} in this folder", folder, hint=hint))
    refusals = Refusals(force)
    told = manifest.read_stated(folder, LanguageManifest)
    refusals.refuse(checks.file_problems(folder, told))
    kind, known = told.language.kind, None
    if told.kind == "model":
        tokenizer = checked_tokenizer(folder, told, refusals)
        model = load_whole(folder, told.attention, refusals, _WHOLE[kind])
    else:
        known = find_base(folder, told, base)
        refusals.refuse(checks.base_problems(folder, told, known))
        tokenizer, model = known.tokenizer, _over(known, folder, kind, told.attention, refusals)
        refusals.refuse(checks.scaling_problems(folder, told, model))
    kept = None
    if told.language.kept is not None:
        kept = stored.read_tensors(folder / VOCABULARY)[0]["kept"].numpy().astype(np.int64)
    refusals.refuse(checks.seal_problems(folder, told))
    refusals.refuse(checks.probe_problems(folder, told, _probes(model, tokenizer, kind, told.max_length)))
    return LoadedLanguageModel(model, tokenizer, kind, kept, told.max_length, known, told, refusals.overridden)


def _over(base: Base, folder: Path, kind: Kind, attention: str, refusals: Refusals) -> nn.Module:
    """The adapter in `folder` over its base."""
    tensors, _ = stored.read_tensors(folder / stored.WEIGHTS)
    model: nn.Module
    model, _ = attach_stored(_BUILD[kind](base, attention=attention), folder, tensors, refusals)
    return model


def _probes(model: nn.Module, tokenizer: Any, kind: Kind, max_length: int) -> tuple[Probe, ...]:
    """Scores of the probe texts; a word, so that they have the size of a logit and one tolerance fits both."""
    made = PseudoLikelihood if kind == "masked" else CausalScorer
    (found,) = made(model, tokenizer, max_length=max_length, overlong="truncate").score([PROBE_TEXTS])
    return tuple(
        Probe(text=text, logits=(float(score) / (text.count(" ") + 1),))
        for text, score in zip(PROBE_TEXTS, found, strict=True)
    )
