"""Summarize text with the model in this folder, without kilowit.

    python summarize.py [FILE ...]

Each file is a document, or with --lines each of its lines; without a file, standard input. Summaries go to standard
output, one a line. In Python:

    from summarize import load
    load("FOLDER").summarize(["a document"])
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kilowit.errors import PartError
from kilowit.parts.runtime import GenerateOptions, RuntimeOptions
from kilowit.parts.text_codec import TextCodec

GENERATORS = {
    "onnxruntime": ("engine_onnxruntime", "OnnxRuntimeGenerator"),
    "openvino": ("engine_openvino", "OpenVinoGenerator"),
    "ctranslate2": ("engine_ctranslate2", "CTranslate2Generator"),
}


class Summarizer:
    """A model in memory with its tokenizer."""

    def __init__(self, folder: Path, num_threads: int | None = None) -> None:
        self.codec = TextCodec.load(folder)
        module, name = GENERATORS[self.codec.manifest.runtime]
        engine = importlib.import_module(f"{TextCodec.__module__.rpartition('.')[0]}.{module}")
        self.generator: Any = getattr(engine, name)(folder, RuntimeOptions(num_threads=num_threads))

    def summarize(self, documents: Sequence[str], options: GenerateOptions | None = None) -> list[str]:
        """Return one summary per document, in order.

        Args:
            options: how to search; None = as the folder says.

        Raises:
            PartError: a document is empty or not text.
        """
        for number, document in enumerate(documents, start=1):
            if isinstance(document, str) and not document.strip():
                raise PartError("the document is empty", place=f"document {number}", hint="Leave it out.")
        rows = self.generator.generate(self.codec.encode(documents), options or self.codec.manifest.generate)
        return self.codec.decode(rows)


def load(folder: str | Path, num_threads: int | None = None) -> Summarizer:
    """Load the model of a folder.

    Raises:
        PartError: the folder is not whole, or its runtime is not installed.
    """
    try:
        return Summarizer(Path(folder), num_threads)
    except ModuleNotFoundError as error:
        raise PartError(f"the package {error.name} is not installed", hint=f"pip install {error.name}") from error


def main() -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(description="Summarize text with the model in this folder.")
    parser.add_argument("files", nargs="*", type=Path, help="documents; none = standard input")
    parser.add_argument("--lines", action="store_true", help="each line is a document")
    parser.add_argument("--threads", type=int, help="on the CPU; default: the runtime's own choice")
    arguments = parser.parse_args()
    try:
        texts = [_read(path) for path in arguments.files] or [sys.stdin.buffer.read().decode("utf-8")]
        documents = [line for text in texts for line in text.splitlines()] if arguments.lines else texts
        for summary in load(Path(__file__).resolve().parent, arguments.threads).summarize(documents):
            print(" ".join(summary.split()))
    except (PartError, UnicodeDecodeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise PartError(f"not UTF-8 ({error})", place=str(path), hint="Convert the file to UTF-8.") from error


if __name__ == "__main__":
    sys.exit(main())
