"""What a model family is: a file ``parts/models/<family>.py`` with ``FAMILY``, or a training-free baseline.

A baseline's file (``lead``, ``textrank``) defines ``Options`` and ``summarizer(options, dataset_name) -> Summarizer``
instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from kilowit.parts.attention_pattern import AttentionPattern
from kilowit.parts.prompt import Prompt


class Summarizer(Protocol):
    """Something that summarizes, whatever runtime is behind it."""

    def summarize(self, documents: list[str]) -> list[str]:
        """Return one summary per document, in order."""
        ...


@dataclass(frozen=True)
class Dimensions:
    """The sizes that decide an encoder-decoder's FLOPs and memory; counts, all positive."""

    encoder_layers: int
    decoder_layers: int
    d_model: int
    d_attention: int  # heads x head width
    encoder_ffn: int
    decoder_ffn: int
    vocabulary_size: int
    num_heads: int
    num_ffn_matrices: int = 2  # 3 where the feed-forward is gated (T5 v1.1, Flan-T5)
    encoder_pattern: AttentionPattern | None = None  # None: every source token sees every other
    keeps_scores: bool = False  # no fused kernel: the attention's scores stay in memory for the backward pass
    num_future_tokens: int = 0  # predicted at once, each by a stream of its own beside the main one (ProphetNet)
    decoder_position_width: int = 0  # columns of a projection to relative positions in every decoder layer
    num_head_matrices: int = 0  # d_model x d_model projections before the vocabulary head (BERT)
    is_one_stack: bool = False  # source and target go through the same layers as one sequence (UniLM, Llama)
    d_key_value: int | None = None  # width of keys and values where heads share them; None = as the queries'

    @property
    def key_value_width(self) -> int:
        """Width of keys and values."""
        return self.d_attention if self.d_key_value is None else self.d_key_value


@dataclass(frozen=True)
class GenerationDefaults:
    """Generation settings of a family for one dataset, as its authors published them.

    Published ``max_length`` and ``min_length`` count the decoder's start token; these counts of new tokens do not,
    and are therefore one less.
    """

    num_beams: int
    max_new_tokens: int
    min_new_tokens: int
    length_penalty: float
    no_repeat_ngram_size: int
    source: str
    early_stopping: bool = True  # stop when num_beams candidates are complete


class PositionLimits(NamedTuple):
    """Longest source and target that a model has positions for, tokens; None = no limit."""

    source: int | None
    target: int | None
    together: int | None = None  # where one table holds both


def same_limits(config: Mapping[str, Any]) -> PositionLimits:
    """Return the limit that one table of positions sets on both halves."""
    limit = config.get("max_position_embeddings")
    return PositionLimits(limit, limit)


@dataclass(frozen=True)
class Family:
    """The facts of one family: how to recognise it, feed it, build it small, and count its FLOPs."""

    name: str
    model_types: tuple[str, ...]  # `model_type` of config.json
    prefix: str  # put before every document
    fp16_trains: bool  # False: overflows in fp16 (parts/methods/fp16 refuses)
    sizes: Mapping[str, Mapping[str, Any]]  # named from-scratch sizes -> keyword arguments of the config
    special_tokens: Mapping[str, str]  # of a vocabulary trained here: role, as `bos_token`, -> text; in order of id
    build_config: Callable[[Mapping[str, Any], int], Any]  # (keyword arguments, max positions) -> PretrainedConfig
    dimensions: Callable[[Mapping[str, Any]], Dimensions]  # of a config.json
    num_parameters: Callable[[Mapping[str, Any]], int]  # of a config.json; tied weights count once
    config_of_checkpoint: Callable[[Mapping[str, str]], dict[str, Any] | None]  # of a row of the checkpoint table
    generation: Mapping[str, GenerationDefaults] = field(default_factory=dict)  # by dataset; "default" always there
    position_limits: Callable[[Mapping[str, Any]], PositionLimits] = same_limits  # of a config.json
    warm_starts_from: tuple[str, ...] = ()  # model types of encoders that it can be made of
    # Put right what transformers leaves wrong, on the model in memory: `LoadedModel` -> None.
    prepare: Callable[[LoadedModel], None] | None = None
    # What the author of a study should know: (dimensions, max source tokens) -> sentences.
    cautions: Callable[[Dimensions, int], tuple[str, ...]] | None = None
    default_prompt: str | None = None  # what a decoder-only model reads, {document} in it; None = it has an encoder
    has_languages: bool = False  # its tokenizer marks texts with the code of their language (mBART)
    checkpoints: Mapping[str, str] = field(default_factory=dict)  # hub id -> the size of `sizes` that it has


@dataclass
class LoadedModel:
    """A model in memory with all that is needed to train it and to generate."""

    model: Any  # transformers.PreTrainedModel
    tokenizer: Any  # transformers.PreTrainedTokenizerBase
    family: Family
    source: str  # hub:<id>@<revision> | folder:<name> | scratch:<size> | warm_start:<one of these>
    name: str
    prompt: Prompt | None = None  # of a decoder-only model
    language: str | None = None  # code that the study names, for a family that has languages


def num_members_of(model: Any) -> int:
    """Return how many models of one size answer together as this one: 1, or those of an ensemble."""
    return int(getattr(model, "num_members", 1))
