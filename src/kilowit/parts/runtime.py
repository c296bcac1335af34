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
        self, sources: Sequence[Sequence[int]], options: GenerateOptions, on_done: OnDone | None = None
    ) -> list[list[int]]:
        """Return the new tokens of each source, in order: no start token, no padding, the end token where reached.

        Args:
            sources: ids of each source's tokens, special tokens included.
            options: how to search.
            on_done: called as sources are finished, in whatever order.
        """
        ...
