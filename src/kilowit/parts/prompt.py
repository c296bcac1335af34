"""What a decoder-only model reads around a document, in tokens: it has no encoder to tell source from summary.

A prompt is text with ``{document}`` in it. Its parts are tokenized apart from the document, so that a long document is
cut and the prompt never; where words meet, the tokens may differ from those of the whole text. Needs no torch.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from kilowit.errors import PartError

PLACE: Final = "{document}"
DEFAULT_PROMPT: Final = f"{PLACE}\n\nSummary:"
DEFAULT_REQUEST: Final = f"Summarize the following text. Answer with the summary alone.\n\n{PLACE}"
# Some chat templates write today's date, and Qwen's opens a block of thoughts: the same prompt every day, without one.
_TEMPLATE_ARGUMENTS: Final = {"date_string": "01 Jan 2026", "enable_thinking": False}


@dataclass(frozen=True)
class Prompt:
    """A prompt in tokens."""

    text: str  # as asked for, ``{document}`` in it
    opening: tuple[int, ...]  # before the document, the token that begins a text included
    closing: tuple[int, ...]  # after it; the summary's first token follows the last of these
    end: int  # token that ends a summary

    @property
    def start(self) -> int:
        """The token that the summary follows: what a decoder's start token is to an encoder-decoder."""
        return self.closing[-1]

    @property
    def num_tokens(self) -> int:
        """Tokens that are fed besides the document; the start token counts to the summary's side."""
        return len(self.opening) + len(self.closing) - 1

    def source(self, document: Sequence[int], maximum: int) -> array[int]:
        """Return a document's tokens in the prompt, the document cut so that all are at most `maximum`.

        Raises:
            PartError: the prompt leaves no room for a document.
        """
        room = maximum - self.num_tokens
        if room < 1:
            raise PartError(
                f"the prompt takes {self.num_tokens} of {maximum} source tokens and leaves none for a document",
                hint="Raise train.max_source_tokens, or give the model a shorter `prompt`.",
            )
        return array("i", [*self.opening, *document[:room], *self.closing[:-1]])

    def target(self, summary: Sequence[int], maximum: int) -> array[int]:
        """Return a summary's tokens with the one that ends it, cut to `maximum`."""
        return array("i", [*summary[: maximum - 1], self.end])


def check_prompt(text: str) -> None:
    """Refuse a prompt that a document cannot stand in, or that a summary cannot follow.

    Raises:
        PartError: no place for the document, several, or nothing behind it.
    """
    if text.count(PLACE) != 1:
        raise PartError(f"the prompt has {PLACE} {text.count(PLACE)} times", hint=f"Write it once: {DEFAULT_PROMPT!r}.")
    if not text.partition(PLACE)[2].strip():
        raise PartError(
            f"nothing stands behind {PLACE} in the prompt: where would the summary begin?",
            hint=f"Say so in words: {DEFAULT_PROMPT!r}.",
        )


def read_prompt(tokenizer: Any, text: str | None) -> Prompt:
    """Tokenize a prompt.

    Args:
        tokenizer: a tokenizer of transformers, with a token that ends a text.
        text: None = a user's request in the tokenizer's chat template, or `DEFAULT_PROMPT` where it has none.

    Raises:
        PartError: the tokenizer has no token that ends a text, or its chat template cannot hold a request.
    """
    if tokenizer.eos_token_id is None:
        raise PartError("the tokenizer has no eos_token: a summary could not end", hint="Name another tokenizer.")
    is_chat = text is None and bool(getattr(tokenizer, "chat_template", None))
    asked = text or (DEFAULT_REQUEST if is_chat else DEFAULT_PROMPT)
    before, _, after = (_in_chat(tokenizer, asked) if is_chat else asked).partition(PLACE)
    opening = [] if is_chat or not _begins_texts(tokenizer) else [tokenizer.bos_token_id]
    opening += _plain_tokens(tokenizer, before)
    return Prompt(asked, tuple(opening), tuple(_plain_tokens(tokenizer, after)), int(tokenizer.eos_token_id))


def _in_chat(tokenizer: Any, request: str) -> str:
    turn = [{"role": "user", "content": request}]
    whole = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, **_TEMPLATE_ARGUMENTS)
    if whole.count(PLACE) != 1 or not whole.partition(PLACE)[2]:
        raise PartError(
            "the tokenizer's chat template leaves no place for an answer behind a request",
            hint=f"Give the model a `prompt` of its own, such as {DEFAULT_PROMPT!r}.",
        )
    return str(whole)


def _begins_texts(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a token before every text."""
    tokens = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and len(tokens) > 1 and tokens[0] == tokenizer.bos_token_id


def _plain_tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []
