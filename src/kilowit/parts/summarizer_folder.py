"""Describe a trained model for others: manifest and tokenizer from a folder as save_pretrained leaves it.

Reading the tokenizer needs transformers; what comes of it, a `TextCodec`, does not.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kilowit.errors import PartError
from kilowit.parts import catalogue
from kilowit.parts.runtime import GenerateOptions
from kilowit.parts.text_codec import MANIFEST_FILE, Manifest, Positions, SpecialIds, TextCodec

DEFAULT_SOURCE_TOKENS: Final = 512  # where neither positions nor the tokenizer set a limit (T5); TrainSettings' default
UNLIMITED_TOKENS: Final = 1_000_000  # transformers writes 1e30 for "no limit"
# Settings of transformers' GenerationConfig that would change the summaries and that no runtime here knows.
_NEUTRAL: Final = {
    "do_sample": False, "repetition_penalty": 1.0, "encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0,
    "diversity_penalty": 0.0, "num_beam_groups": 1, "bad_words_ids": None, "force_words_ids": None,
    "constraints": None, "suppress_tokens": None, "begin_suppress_tokens": None, "sequence_bias": None,
    "exponential_decay_length_penalty": None,
}  # fmt: skip


def open_codec(folder: Path) -> TextCodec:
    """Return the codec of an exported summarizer or, by transformers, of a folder as save_pretrained leaves it.

    Raises:
        PartError: it is neither, or see `describe`.
    """
    return TextCodec.load(folder) if (folder / MANIFEST_FILE).is_file() else describe(folder)


def describe(
    model: Path, *, runtime: str = "torch", precision: str = "fp32", max_source_tokens: int | None = None
) -> TextCodec:
    """Return the codec, its manifest within, of a folder as save_pretrained leaves it.

    Args:
        runtime: what will run it.
        precision: number format of the weights that the runtime is given.
        max_source_tokens: cut documents to it; None = what positions and tokenizer allow.

    Raises:
        PartError: no model or tokenizer in the folder, a family that is not supported, a tokenizer that the package
            tokenizers cannot run, or generation settings that no runtime knows.
    """
    from kilowit.parts.pretrained import load_tokenizer

    config = catalogue.read_config(model)
    family = catalogue.family_of(config, place=str(model))
    tokenizer = load_tokenizer(model)
    backend = _backend(tokenizer, model)
    settings = _generation_settings(model, config)
    limits = family.position_limits(config)
    known = [limit for limit in (limits.source, _finite(tokenizer.model_max_length)) if limit is not None]
    manifest = Manifest(
        name=model.name,
        family=family.name,
        prefix=family.prefix,
        max_source_tokens=max_source_tokens or min(known, default=DEFAULT_SOURCE_TOKENS),
        positions=Positions(limits.source, limits.target),
        vocabulary_size=family.dimensions(config).vocabulary_size,
        special_ids=_special_ids(settings, config, model),
        generate=_generate_options(settings, model),
        runtime=runtime,
        precision=precision,
        source=f"folder:{model.name}",
        signature=f"weights:{weights_digest(model)}|runtime:{runtime}|precision:{precision}",
        cleans_up_spaces=_cleans_up_spaces(tokenizer, backend),
    )
    return TextCodec(manifest, backend)


def restate(folder: Path, **changes: Any) -> Manifest:
    """Change fields of an exported summarizer's manifest: its name, source, generate, max_source_tokens.

    Raises:
        PartError: no manifest there.
    """
    manifest = replace(Manifest.read(folder), **changes)
    manifest.write(folder)
    return manifest


def weights_digest(model: Path) -> str:
    """Return ``sha256:`` and the first 16 digits of the hash of a folder's configuration and weights.

    Cost: one reading of all bytes, about 1 s a gigabyte.
    """
    digest = hashlib.sha256()
    for path in sorted(model.iterdir()):
        if path.name == "config.json" or path.suffix in (".safetensors", ".bin"):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:16]}"


def _backend(tokenizer: Any, model: Path) -> Any:
    """Return the `tokenizers.Tokenizer` behind a tokenizer of transformers, converted where it has none."""
    from tokenizers import Tokenizer

    if tokenizer.is_fast:
        return Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # a copy: truncation is set on it
    from transformers.convert_slow_tokenizer import SLOW_TO_FAST_CONVERTERS

    kind = type(tokenizer).__name__
    converter = SLOW_TO_FAST_CONVERTERS.get("BertTokenizer" if kind == "ProphetNetTokenizer" else kind)
    if converter is None:
        raise PartError(
            f"{kind} has no form that the package tokenizers can run",
            place=str(model),
            hint="Save the model with a tokenizer that has a tokenizer.json.",
        )
    backend = converter(tokenizer).converted()
    if kind == "ProphetNetTokenizer":  # BERT's words, but nothing before the text
        backend.add_special_tokens(list(tokenizer.added_tokens_decoder.values()))
        backend.post_processor = _closing(tokenizer.sep_token, tokenizer.sep_token_id)
    return backend


def _closing(token: str, token_id: int) -> Any:
    from tokenizers import processors

    pair = f"$A {token} $B {token}"
    return processors.TemplateProcessing(single=f"$A {token}", pair=pair, special_tokens=[(token, token_id)])


def _cleans_up_spaces(tokenizer: Any, backend: Any) -> bool:
    """Whether transformers cleans up what this tokenizer decodes: it spares BPE, which loses wanted spaces by it."""
    return bool(tokenizer.clean_up_tokenization_spaces) and type(backend.model).__name__ != "BPE"


def _finite(limit: float) -> int | None:
    return int(limit) if limit < UNLIMITED_TOKENS else None


def _generation_settings(model: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return what generation_config.json says, in its absence what config.json does; None is left out."""
    path = model / "generation_config.json"
    has_own = path.is_file()
    try:
        settings = json.loads(path.read_text(encoding="utf-8")) if has_own else config
    except ValueError as error:
        raise PartError(f"not JSON ({error})", place=str(path), hint="Copy the file again.") from error
    settings = {name: value for name, value in settings.items() if value is not None}
    for name, neutral in _NEUTRAL.items():
        if settings.get(name, neutral) != neutral:
            raise PartError(
                f"generation setting {name} = {settings[name]!r} is known to no runtime",
                place=str(model),
                hint=f"Take it out of {'generation_config.json' if has_own else 'config.json'}.",
            )
    return settings


def _special_ids(settings: dict[str, Any], config: dict[str, Any], model: Path) -> SpecialIds:
    def one(name: str) -> Any:
        return settings.get(name, config.get(name))

    eos, start = one("eos_token_id"), one("decoder_start_token_id")
    if eos is None or (start is None and one("bos_token_id") is None):
        missing = "eos_token_id" if eos is None else "decoder_start_token_id"
        raise PartError(f"no {missing} in config.json", place=str(model), hint="Add it: a search cannot do without.")
    eos_ids = tuple(eos) if isinstance(eos, list) else (eos,)
    pad, forced_eos = one("pad_token_id"), one("forced_eos_token_id")
    return SpecialIds(
        eos=eos_ids,
        pad=eos_ids[0] if pad is None else pad,
        decoder_start=one("bos_token_id") if start is None else start,
        forced_bos=one("forced_bos_token_id"),
        forced_eos=forced_eos[0] if isinstance(forced_eos, list) else forced_eos,
    )


def _generate_options(settings: dict[str, Any], model: Path) -> GenerateOptions:
    """Return the settings as options; published lengths count the decoder's start token, ours do not."""
    early_stopping = settings.get("early_stopping", False)
    if not isinstance(early_stopping, bool):
        message = f"generation setting early_stopping = {early_stopping!r} is known to no runtime"
        raise PartError(message, place=str(model), hint="Set it to true or false.")
    default = GenerateOptions()
    longest = settings.get("max_new_tokens", settings.get("max_length", default.max_new_tokens + 1) - 1)
    shortest = settings.get("min_new_tokens", max(settings.get("min_length", 0) - 1, 0))
    return GenerateOptions(
        num_beams=settings.get("num_beams", 1),
        max_new_tokens=longest,
        min_new_tokens=min(shortest, longest),
        length_penalty=float(settings.get("length_penalty", 1.0)),
        no_repeat_ngram_size=settings.get("no_repeat_ngram_size", 0),
        early_stopping=early_stopping,
    )
