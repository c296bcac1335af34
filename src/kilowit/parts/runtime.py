"""What a runtime is: a file ``parts/runtimes/<name>.py`` that runs a trained summarizer its own way.

Its docstring is its card. It defines

    FAMILIES    names of the families it takes; None = all
    PRECISIONS  number formats that `export` can leave, the first is the default
    DEVICES     "cpu", "cuda": where it runs
    REQUIRES    import names of the packages that running needs, torch among them where it does
    READS_MODEL_FOLDER  True where `load` takes a folder as save_pretrained leaves it too; left out = False
    EXTRA       the extra of pyproject.toml that brings them; left out = ``train``
    export(model: Path, folder: Path, precision: str) -> None
                from a folder as save_pretrained leaves it, with its tokenizer, to one that `load` takes
    load(folder: Path, options: RuntimeOptions) -> TokenGenerator

Importing it imports none of them: `kilowit.parts.runtime_support` asks every runtime what it takes, at plan time.
A runtime that nothing runs any more defines ``UNAVAILABLE``, one sentence with the evidence and the successor, instead.
Tokens are its language; text is the business of `kilowit.parts.text_codec`, which is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

OnDone = Callable[[Sequence[int]], None]  # told which sources (their places in the call) have just been finished
# Told a source's place and the tokens that go on its summary: settled, no later step takes them back. They come in
# order; put together they are the source's row. Returns whether more are wanted: a source of which none are may be left
# as it is.
OnTokens = Callable[[int, Sequence[int]], bool]


@dataclass(frozen=True)
class GenerateOptions:
    """How summaries are searched for; the names and meanings of transformers' GenerationConfig.

    Counts of new tokens leave out the decoder's start token and include the end token.
    """

    num_beams: int = 1
    max_new_tokens: int = 64
    min_new_tokens: int = 0
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    early_stopping: bool = True  # stop when num_beams candidates are complete
    batch_size: int = 16  # most sources that are computed at once


@dataclass(frozen=True)
class RuntimeOptions:
    """Where and how a runtime runs."""

    device: Literal["cpu", "cuda"] = "cpu"
    precision: str | None = None  # None = what the folder holds
    num_threads: int | None = None  # on the CPU; None = the runtime's own choice


class TokenGenerator(Protocol):
    """A model in memory that writes tokens."""

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        options: GenerateOptions,
        on_done: OnDone | None = None,
        on_tokens: OnTokens | None = None,
    ) -> list[list[int]]:
        """Return the new tokens of each source, in order: no start token, no padding, the end token where reached.

        Args:
            sources: ids of each source's tokens, special tokens included.
            options: how to search.
            on_done: called as sources are finished, in whatever order.
            on_tokens: called as tokens are settled, from the thread that computes: in a greedy search each as it is
                chosen, in a beam search those on which all beams that may still win agree, or all at the end where the
                runtime keeps its beams to itself.
        """
        ...


class TokenFeed:
    """Hands each source's tokens on, each once; what a runtime that has `on_tokens` tells its progress to.

    Args:
        on_tokens: None = nobody wants to be told.
    """

    def __init__(self, on_tokens: OnTokens | None, num_sources: int) -> None:
        self._on_tokens = on_tokens
        self._told: list[list[int]] = [[] for _ in range(num_sources if on_tokens else 0)]
        self.unwanted: set[int] = set()  # places of which no more is wanted

    def __bool__(self) -> bool:
        return self._on_tokens is not None

    def num_told(self, place: int) -> int:
        """Return how many tokens of a source have been handed on."""
        return len(self._told[place])

    def tell(self, place: int, tokens: Sequence[int]) -> bool:
        """Hand on further tokens of a source; return whether more are wanted."""
        if self._on_tokens is None or place in self.unwanted:
            return self._on_tokens is None
        if tokens:
            self._told[place].extend(tokens)
            if not self._on_tokens(place, tokens):
                self.unwanted.add(place)
        return place not in self.unwanted

    def finish(self, place: int, row: list[int]) -> list[int]:
        """Hand on what is left of a finished row; return the row, or what was told of it if no more was wanted."""
        if self._on_tokens is None:
            return row
        told = self._told[place]
        if place not in self.unwanted:
            assert row[: len(told)] == told, "what was told of a summary has been taken back"
            self.tell(place, row[len(told) :])
        return told
