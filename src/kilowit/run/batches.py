"""From text to padded tensors: tokenize a split, and collate batches with the decoder's inputs made here."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, Final

from kilowit.parts.dataset import Split
from kilowit.parts.methods.truncate import cut_tokens
from kilowit.parts.padding import pad_rows, source_batch
from kilowit.parts.prompt import Prompt
from kilowit.parts.tokenized import TokenizedSplit

IGNORED: Final = -100  # label of a position that has no token, as torch's cross_entropy names it
TEXTS_AT_ONCE: Final = 1000


def tokenize_split(
    split: Split,
    tokenizer: Any,
    *,
    prefix: str,
    max_source_tokens: int,
    max_target_tokens: int,
    prompt: Prompt | None = None,
) -> TokenizedSplit:
    """Tokenize both columns, cut to the maxima; the closing special token stays, or the prompt around a document."""
    if prompt is not None:
        return _prompted_split(split, tokenizer, prompt, max_source_tokens, max_target_tokens)
    sources = _encode([prefix + document for document in split.documents], tokenizer, "text")
    targets = _encode(split.summaries, tokenizer, "text_target")
    num_closing = _num_closing_tokens(tokenizer)
    return TokenizedSplit(
        ids=split.ids,
        source_tokens=[cut_tokens(tokens, max_source_tokens, num_closing) for tokens in sources],
        target_tokens=[cut_tokens(tokens, max_target_tokens, num_closing) for tokens in targets],
        num_source_tokens_whole=[len(tokens) for tokens in sources],
        num_target_tokens_whole=[len(tokens) for tokens in targets],
    )


def _prompted_split(
    split: Split, tokenizer: Any, prompt: Prompt, max_source_tokens: int, max_target_tokens: int
) -> TokenizedSplit:
    documents = _encode(split.documents, tokenizer, "text", add_special_tokens=False)
    summaries = _encode(split.summaries, tokenizer, "text", add_special_tokens=False)
    return TokenizedSplit(
        ids=split.ids,
        source_tokens=[prompt.source(tokens, max_source_tokens) for tokens in documents],
        target_tokens=[prompt.target(tokens, max_target_tokens) for tokens in summaries],
        num_source_tokens_whole=[len(tokens) + prompt.num_tokens for tokens in documents],
        num_target_tokens_whole=[len(tokens) + 1 for tokens in summaries],
    )


def tokenize_texts(texts: Sequence[str], tokenizer: Any, role: str, maximum: int) -> list[array[int]]:
    """Tokenize texts and cut them to `maximum` tokens, the closing one kept.

    Args:
        role: ``text`` (a source) or ``text_target``.
    """
    num_closing = _num_closing_tokens(tokenizer)
    return [cut_tokens(tokens, maximum, num_closing) for tokens in _encode(texts, tokenizer, role)]


def _encode(texts: Sequence[str], tokenizer: Any, role: str, **how: bool) -> list[array[int]]:
    encoded: list[array[int]] = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        # verbose=False: "longer than the model's maximum" is what cut_tokens is for
        rows = tokenizer(**{role: list(texts[start : start + TEXTS_AT_ONCE])}, truncation=False, verbose=False, **how)
        encoded += [array("i", tokens) for tokens in rows["input_ids"]]
    return encoded


def _num_closing_tokens(tokenizer: Any) -> int:
    """Count the special tokens that end every text, e.g. 1 for ``</s>``."""
    tokens = tokenizer("a")["input_ids"]
    special = set(tokenizer.all_special_ids)
    num_closing = 0
    while num_closing < len(tokens) and tokens[-1 - num_closing] in special:
        num_closing += 1
    return num_closing


class Collator:
    """Turns indices of a split into one padded batch.

    Decoder inputs are built here by the family's own shift: with the labels taken out of the batch, as label
    smoothing and our loss do, BART would otherwise shift the *source* and train on nonsense without an error.

    Args:
        shift_right: labels -> decoder inputs; ``model.prepare_decoder_input_ids_from_labels``.
        multiple: lengths are rounded up to it; 8 fills tensor cores, 1 computes no needless position.
    """

    def __init__(
        self, split: TokenizedSplit, pad_token_id: int, shift_right: Callable[[Any], Any], multiple: int = 1
    ) -> None:
        self.split, self.pad_token_id, self.shift_right, self.multiple = split, pad_token_id, shift_right, multiple

    def __call__(self, indices: Sequence[int]) -> dict[str, Any]:
        """Return ``input_ids`` and ``attention_mask`` [B, S], ``labels`` and ``decoder_input_ids`` [B, T]."""
        batch = source_batch([self.split.source_tokens[i] for i in indices], self.pad_token_id, self.multiple)
        labels_BT = pad_rows([self.split.target_tokens[i] for i in indices], IGNORED, self.multiple)
        return {**batch, "labels": labels_BT, "decoder_input_ids": self.shift_right(labels_BT)}
