"""Opens an audio language model of transformers (Qwen2-Audio and the like) with its processor, and finds its parts.

The class is the one that the base's config names, if transformers has it; code that comes with a base is never run.
Not here: asking (`processor`), adapters (`tuning`).

Example:
    >>> base = load_base(ModelSettings(base="Qwen/Qwen2-Audio-7B-Instruct", max_length=2048))       # doctest: +SKIP
    >>> model, processor = build_audio_language(base), load_processor(base)                         # doctest: +SKIP
    >>> language_path(model)                                                                        # doctest: +SKIP
    'model.language_model'
"""

from __future__ import annotations

from typing import Any

from tunelet.base.errors import BaseModelError, Problem
from tunelet.base.files import digest
from tunelet.models.bases import Base
from tunelet.models.declared import declare
from tunelet.models.loading import from_base, refuse_lost
from tunelet.models.quiet import quiet_transformers

#: What such models call their language model.
_LANGUAGE = "language_model"
_HINT = "give an audio language model of transformers with its processor, such as Qwen2-Audio"


def load_processor(base: Base) -> Any:
    """The processor that lies with a base.

    Raises:
        BaseModelError: there is none that makes text and sound to what a model takes.
    """
    from transformers import AutoProcessor

    try:
        with quiet_transformers():
            found = AutoProcessor.from_pretrained(base.folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise BaseModelError(Problem(f"its processor cannot be read: {error}", base.folder, hint=_HINT)) from error
    if not hasattr(found, "feature_extractor"):
        what = f"found a {type(found).__name__}, expected a processor of text and sound"
        raise BaseModelError(Problem(what, base.folder, hint=_HINT))
    return found


def processor_digest(processor: Any) -> str:
    """Hex sha256 of how a processor makes sound and chats to what a model takes; its tokenizer is not counted."""
    sound = {key: value for key, value in processor.feature_extractor.to_dict().items() if not key.startswith("_")}
    sound.pop("processor_class", None)
    marks = {key: str(getattr(processor, key, None)) for key in ("audio_token", "audio_bos_token", "audio_eos_token")}
    return digest({"sound": sound, "marks": marks, "chat": getattr(processor, "chat_template", None)})


def build_audio_language(base: Base, *, attention: str = "sdpa") -> Any:
    """The base as an audio language model, fp32, on the CPU, in evaluation mode.

    Raises:
        BaseModelError: it is none, transformers does not know it, or weights are missing.
    """
    import transformers

    named = [str(name) for name in base.config.architectures or ()]
    known = [factory for name in named if hasattr(factory := getattr(transformers, name, None), "generate")]
    if not known or not hasattr(base.config, "audio_config"):
        what = f"{', '.join(named) or 'a model without `architectures`'} is no audio language model of transformers"
        raise BaseModelError(Problem(what, base.folder / "config.json", hint=_HINT))
    config = type(base.config).from_dict(base.config.to_dict())
    model, report = from_base(known[0], base, config, attention, what="audio language model")
    refuse_lost(report["missing_keys"], base)
    declare(model, fresh_modules=(), task_type="CAUSAL_LM")
    declare(model.get_submodule(language_path(model)), fresh_modules=(), task_type=None)
    return model.eval()


def language_path(model: Any) -> str:
    """Where the language model is in an audio language model.

    Raises:
        BaseModelError: it has none of its own.
    """
    for name, _ in model.named_modules():
        if name.rpartition(".")[2] == _LANGUAGE:
            return str(name)
    raise BaseModelError(Problem(f"{type(model).__name__} has no module called {_LANGUAGE}", hint=_HINT))
