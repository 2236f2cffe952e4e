"""Speech encoders of transformers from a local folder: Whisper's encoder, WavLM, HuBERT, wav2vec 2.0 and their kin.

Sound goes through the folder's own feature extractor. Whisper always hears its whole window (30 s) and gives all of its
frames; `whole_window` says whether those after a clip's end count, as in SALMONN, or are left out. Models whose first
norm runs over the whole clip (wav2vec2-base and its kin) would hear the padding of a batch: they get clips of one
length at a time. Not here: training objectives, the hub, or models with a text half, of which only the encoder is kept.

Example:
    >>> encoder = load_huggingface_encoder(Path("whisper-large-v2"), whole_window=True)     # doctest: +SKIP
    >>> encoder.width, encoder.frames_per_second                                            # doctest: +SKIP
    (1280, 50.0)
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tunelet.base.errors import BaseModelError, Problem
from tunelet.models.quiet import quiet_transformers
from tunelet.models.speech.protocol import (
    RATE,
    SpeechFeatures,
    check_waveforms,
    frame_mask,
    weights_digest,
)

#: What the shapes of the weights do not show.
_ESSENTIALS = ("model_type", "num_attention_heads", "encoder_attention_heads", "hidden_act", "activation_function",
               "layer_norm_eps", "feat_extract_norm", "do_stable_layer_norm", "num_buckets", "max_bucket_distance",
               "conv_kernel", "conv_stride")  # fmt: skip
_HINT = "expected a folder of save_pretrained with a speech encoder and its preprocessor_config.json"


class HuggingFaceEncoder(nn.Module):
    """See `protocol.SpeechEncoder`.

    Args:
        model: an encoder: Whisper's, or a model with ``_get_feat_extract_output_lengths``.
        extractor: its feature extractor.
        whole_window: of Whisper, frames after a clip's end count.
    """

    def __init__(self, model: Any, extractor: Any, *, whole_window: bool = False) -> None:
        super().__init__()
        self.model = model
        self.extractor = extractor
        self.config = model.config
        self.whole_window = whole_window
        self.is_whisper = self.config.model_type == "whisper"
        self.width = int(self.config.d_model if self.is_whisper else self.config.hidden_size)
        self._hop = 2 * int(extractor.hop_length) if self.is_whisper else math.prod(self.config.conv_stride)
        self.frames_per_second = RATE / self._hop

    def forward(self, waveforms: Tensor, lengths: Tensor) -> SpeechFeatures:
        """See `protocol.SpeechEncoder`."""
        if self.is_whisper:
            return self._whisper(waveforms, lengths)
        sound = check_waveforms(waveforms, lengths, least=self._least())
        frames = self.model._get_feat_extract_output_lengths(lengths).long()
        features = sound.new_zeros(len(lengths), int(frames.max()), self.width)
        for rows in self._groups(lengths):
            heard = self._waves(sound[rows], lengths[rows])
            features[rows, : heard.shape[1]] = heard.to(features.dtype)
        there = frame_mask(frames, features.shape[1])[:, :, None]
        return SpeechFeatures(torch.where(there, features, 0.0), frames, self.frames_per_second)

    def fingerprint(self) -> str:
        """See `protocol.SpeechEncoder`."""
        config = {key: getattr(self.config, key, None) for key in _ESSENTIALS}
        extractor = {k: v for k, v in self.extractor.to_dict().items() if isinstance(v, str | int | float | bool)}
        plain = {key: list(value) if isinstance(value, list | tuple) else value for key, value in config.items()}
        said = {"kind": "huggingface", "config": plain, "extractor": extractor, "whole": self.whole_window}
        return weights_digest(self.model, said)

    def _whisper(self, waveforms: Tensor, lengths: Tensor) -> SpeechFeatures:
        most = int(self.config.max_source_positions) * self._hop
        sound = check_waveforms(waveforms, lengths, most=most)
        clips = [clip[:length].cpu().numpy() for clip, length in zip(sound, lengths.tolist(), strict=True)]
        with torch.autocast("cpu", enabled=False):
            mels = self.extractor(clips, sampling_rate=RATE, return_tensors="pt").input_features
        weight = next(self.model.parameters())
        features = self.model(mels.to(weight.device, weight.dtype)).last_hidden_state
        frames = torch.full_like(lengths, features.shape[1])
        if not self.whole_window:
            frames = torch.div(lengths + self._hop - 1, self._hop, rounding_mode="floor")
            features = features[:, : int(frames.max())]
        there = frame_mask(frames, features.shape[1])[:, :, None]
        return SpeechFeatures(torch.where(there, features, 0.0), frames, self.frames_per_second)

    def _waves(self, sound: Tensor, lengths: Tensor) -> Tensor:
        clips = [clip[:length].cpu().numpy() for clip, length in zip(sound, lengths.tolist(), strict=True)]
        options = {"sampling_rate": RATE, "return_tensors": "pt", "padding": True, "return_attention_mask": True}
        with torch.autocast("cpu", enabled=False):
            given = self.extractor(clips, **options)
        weight = next(self.model.parameters())
        mask = given.attention_mask.to(weight.device)
        # without padding there is nothing to mask, and the fused attention need not look
        mask = None if bool(mask.all()) else mask
        features: Tensor = self.model(given.input_values.to(weight.device, weight.dtype), attention_mask=mask)[0]
        return features

    def _groups(self, lengths: Tensor) -> list[Tensor]:
        rows = torch.arange(len(lengths))
        if getattr(self.config, "feat_extract_norm", "layer") != "group":
            return [rows]
        return [rows[lengths.cpu() == length] for length in sorted(set(lengths.tolist()))]

    def _least(self) -> int:
        """Samples that give one frame."""
        field = 1
        for kernel, stride in reversed(list(zip(self.config.conv_kernel, self.config.conv_stride, strict=True))):
            field = (field - 1) * stride + kernel
        return int(field)


def load_huggingface_encoder(
    folder: Path, *, whole_window: bool = False, dtype: torch.dtype = torch.float32
) -> HuggingFaceEncoder:
    """The speech encoder in a folder, on the CPU, in evaluation mode.

    Raises:
        BaseModelError: the folder holds none, or its weights are not all there.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

    if not (folder / "config.json").is_file():
        raise BaseModelError(Problem("found no config.json", folder, hint=_HINT))
    state = torch.get_rng_state()
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
            model, report = AutoModel.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError, SafetensorError) as error:
        raise BaseModelError(Problem(f"no speech encoder can be read: {error}", folder, hint=_HINT)) from error
    finally:
        torch.set_rng_state(state)
    whisper = config.model_type == "whisper"
    if not whisper and not hasattr(model, "_get_feat_extract_output_lengths"):
        raise BaseModelError(Problem(f"a {config.model_type} model is no speech encoder", folder, hint=_HINT))
    if int(getattr(extractor, "sampling_rate", RATE)) != RATE:
        raise BaseModelError(Problem(f"hears {extractor.sampling_rate} samples a second, expected {RATE}", folder))
    # what only training in pairs or masks needs may be missing
    lost = sorted(
        name
        for name in report["missing_keys"]
        if name != "masked_spec_embed" and (not whisper or name.startswith("encoder."))
    )
    if lost:
        what = f"the file lacks {len(lost)} weights of the encoder, such as {', '.join(lost[:3])}"
        raise BaseModelError(Problem(what, folder))
    return HuggingFaceEncoder(model.encoder if whisper else model, extractor, whole_window=whole_window).eval()
