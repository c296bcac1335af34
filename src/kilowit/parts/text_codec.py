"""Text to token ids and back with `tokenizers` alone: what an exported summarizer needs beside its runtime.

A folder that a summarizer is exported to holds ``tokenizer.json`` and ``summarizer.json``, its `Manifest`. This file is
copied into such folders: besides the standard library, tokenizers, `kilowit.errors` and `kilowit.parts.runtime` it
imports nothing. `kilowit.parts.summarizer_folder` makes both files from a folder as save_pretrained leaves it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from kilowit.errors import PartError
from kilowit.parts.runtime import GenerateOptions

SCHEMA_VERSION: Final = 1
MANIFEST_FILE: Final = "summarizer.json"
TOKENIZER_FILE: Final = "tokenizer.json"
_AGAIN: Final = "Export the summarizer again."

# What transformers takes out of decoded text where a tokenizer asks for clean-up.
# Source: clean_up_tokenization in transformers 5.23, tokenization_utils_base.py.
_SPACED: Final = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"),
    (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip
# The end of a text that those replacements may still change: its last word, and every "n" and "'" alone before it.
_OPEN_END: Final = re.compile(r"(?:\s+[n'](?=\s))*\s+\S*$|^\S*$")
_HALF_CHARACTER: Final = "\ufffd"  # what a byte-level vocabulary decodes to while bytes of a character are missing


@dataclass(frozen=True)
class SpecialIds:
    """Token ids that a search needs, with transformers' meanings."""

    eos: tuple[int, ...]
    pad: int
    decoder_start: int
    forced_bos: int | None = None  # the first new token
    forced_eos: int | None = None  # the last, where max_new_tokens is reached


@dataclass(frozen=True)
class Positions:
    """Longest source and target that the model has positions for, tokens; None = no limit."""

    source: int | None
    target: int | None


@dataclass(frozen=True)
class Manifest:
    """All that is to be known of an exported summarizer, but for its weights and its vocabulary."""

    name: str
    family: str
    prefix: str  # put before every document
    max_source_tokens: int  # longer documents are cut; special tokens count and stay
    positions: Positions
    vocabulary_size: int
    special_ids: SpecialIds
    generate: GenerateOptions  # in force where nobody says otherwise
    runtime: str
    precision: str
    source: str  # where the model came from: hub:<id>@<revision>, folder:<name>, a run's id
    signature: str  # which weights, through which exporter
    cleans_up_spaces: bool = False  # decoded text loses the spaces before punctuation
    schema_version: int = field(default=SCHEMA_VERSION)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read a folder's summarizer.json.

        Raises:
            PartError: there is none, or it is not one that this version can read.
        """
        path = folder / MANIFEST_FILE
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            reason = "no such folder" if not folder.is_dir() else f"no {MANIFEST_FILE} in it"
            raise PartError(f"not an exported summarizer: {reason}", place=str(folder), hint=_AGAIN) from error
        except ValueError as error:
            raise PartError(f"not JSON ({error})", place=str(path), hint=_AGAIN) from error
        version = value.get("schema_version") if isinstance(value, dict) else None
        if version != SCHEMA_VERSION:
            message = f"schema_version {version!r} is not {SCHEMA_VERSION}, the one known here"
            raise PartError(message, place=str(path), hint=_AGAIN)
        try:
            return cls._of(value)
        except (TypeError, KeyError) as error:
            raise PartError(f"fields missing or unknown ({error})", place=str(path), hint=_AGAIN) from error

    @classmethod
    def _of(cls, value: Mapping[str, Any]) -> Manifest:
        ids = value["special_ids"]
        read = {
            "special_ids": SpecialIds(**{**ids, "eos": tuple(ids["eos"])}),
            "positions": Positions(**value["positions"]),
            "generate": GenerateOptions(**value["generate"]),
        }
        return cls(**{**value, **read})

    def check_precision(self, asked: str | None, folder: Path) -> None:
        """Refuse a number format that the folder does not hold; None asks for what it holds.

        Raises:
            PartError: it holds another.
        """
        if asked not in (None, self.precision, self.precision.partition("_")[0]):  # int8_static is int8
            message = f"the export is in {self.precision}, not in {asked}"
            raise PartError(message, place=str(folder), hint=f"Export the model again in {asked}.")

    def write(self, folder: Path) -> None:
        """Leave it in a folder."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


class TextCodec:
    """A summarizer's tokenizer.

    Args:
        manifest: the prefix, the longest source and how text is cleaned up.
        tokenizer: `tokenizers.Tokenizer`; its own truncation and padding are replaced.
    """

    def __init__(self, manifest: Manifest, tokenizer: Any) -> None:
        self.manifest, self.tokenizer = manifest, tokenizer
        tokenizer.no_padding()
        tokenizer.enable_truncation(manifest.max_source_tokens)

    @classmethod
    def load(cls, folder: Path) -> TextCodec:
        """Load an exported summarizer's tokenizer.

        Raises:
            PartError: a file is missing or cannot be read, or the package tokenizers is not installed.
        """
        manifest = Manifest.read(folder)
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise PartError("the package tokenizers is not installed", hint="pip install tokenizers") from error
        path = folder / TOKENIZER_FILE
        try:
            return cls(manifest, Tokenizer.from_str(path.read_text(encoding="utf-8")))
        except Exception as error:  # tokenizers raises Exception itself
            raise PartError(f"the tokenizer cannot be loaded ({error})", place=str(path), hint=_AGAIN) from error

    def encode(self, documents: Sequence[str]) -> list[list[int]]:
        """Return the ids of each document's tokens, as the family's tokenizer gives them, cut to the longest source.

        Raises:
            PartError: a document that is not text, or that leaves no token at all.
        """
        texts = [self.manifest.prefix + _checked(number, text) for number, text in enumerate(documents, start=1)]
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts)]
        for number, row in enumerate(rows, start=1):
            if not row:
                raise PartError("nothing to summarize: the document is empty", place=f"document {number}", hint=_LEAVE)
        return rows

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of each row of ids, special tokens and outer white space left out."""
        texts = self.tokenizer.decode_batch([list(row) for row in rows], skip_special_tokens=True)
        return [self._cleaned(text).strip() for text in texts]

    def decode_begun(self, row: Sequence[int]) -> str:
        """Return what is certain of the text of a row that is still being written: no further token changes it."""
        text: str = self.tokenizer.decode(list(row), skip_special_tokens=True)
        if self.manifest.cleans_up_spaces and (end := _OPEN_END.search(text)):
            text = text[: end.start()]
        return self._cleaned(text).lstrip().rstrip(_HALF_CHARACTER).rstrip()

    def write(self, folder: Path) -> None:
        """Leave manifest and tokenizer in a folder."""
        self.manifest.write(folder)
        (folder / TOKENIZER_FILE).write_text(self.tokenizer.to_str(), encoding="utf-8")

    def _cleaned(self, text: str) -> str:
        if self.manifest.cleans_up_spaces:
            for spaced, closed in _SPACED:
                text = text.replace(spaced, closed)
        return text


_LEAVE: Final = "Leave the document out."


def _checked(number: int, text: object) -> str:
    """Return a document, if it is text that can be written in UTF-8."""
    try:
        if not isinstance(text, str):
            raise PartError(f"not text but {type(text).__name__}", place=f"document {number}", hint=_LEAVE)
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        message = f"half a character (a lone surrogate) at {error.start}: the text was read in the wrong encoding"
        raise PartError(message, place=f"document {number}", hint="Read the file as UTF-8.") from error
    return text
