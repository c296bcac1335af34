"""ROUGE, equal to rouge-score 0.1.2 to the last bit, at 18 to 250 times its speed.

`score_pairs` is the one way in. Two engines stand behind it and give the same floats: `engine_python` needs nothing
but Python, `engine_compiled` a small C library that `library` finds or builds. Stands below `parts.metrics.rouge`,
which adds means, intervals and the signature.

Scores are per pair, never aggregated. Sentences, which ROUGE-Lsum needs, are the lines of a text, unless a splitter
is named.

Source: C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004; rouge-score 0.1.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, Literal, get_args

from kilowit.errors import DataError, PartError, near_name_hint
from kilowit.parts.rouge import engine_compiled, engine_python, library
from kilowit.parts.rouge.figures import TYPES, Fractions, check_types

__all__ = ["ENGINES", "SPLITTERS", "TYPES", "Fractions", "best_of_references", "choose_engine", "score_pairs"]

Engine = Literal["auto", "compiled", "python"]
Splitter = Literal["newline", "punkt", "punkt+newline"]
ENGINES: Final[tuple[str, ...]] = get_args(Engine)
SPLITTERS: Final[tuple[str, ...]] = get_args(Splitter)

# Below this, pure Python is done before a compiler would be: 0.5 s at about 1 us a letter.
_MIN_LETTERS_TO_BUILD: Final = 500_000


def score_pairs(
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    types: Iterable[str] = ("rouge1", "rouge2", "rougeL", "rougeLsum"),
    use_stemmer: bool = True,
    splitter: Splitter = "newline",
    engine: Engine = "auto",
) -> dict[str, Fractions]:
    """Return precision, recall and F1 per type and pair, in the order of the pairs.

    Args:
        predictions: one text per example.
        references: as many.
        types: of `TYPES`.
        use_stemmer: Porter's stemmer as NLTK has it, for words of four letters or more.
        splitter: what a sentence is to ROUGE-Lsum. "newline": a line (rouge-score's default). "punkt": NLTK's
            sentences alone (rouge-score's ``split_summaries``). "punkt+newline": NLTK's sentences, and lines within
            them too (what the Hugging Face summarization scripts do).
        engine: "auto" takes the compiled one if it is there or worth building.

    Raises:
        PartError: an unknown type, splitter or engine; or the named engine cannot be used here.
        DataError: not as many references as predictions, or a pair too long for ROUGE-L.

    >>> score_pairs(["The cats sat."], ["A cat sat down."])["rouge1"].recall
    [0.5]
    """
    asked = check_types(types)
    if len(predictions) != len(references):
        raise DataError(
            f"{len(predictions)} predictions, but {len(references)} references",
            hint="Give one reference per prediction; see best_of_references for several.",
        )
    if splitter not in SPLITTERS:
        raise PartError(f'no sentence splitter "{splitter}"', hint=near_name_hint(splitter, SPLITTERS))
    if "rougeLsum" in asked and splitter != "newline":
        predictions, references = _split(predictions, splitter), _split(references, splitter)
    measure = _MEASURES[choose_engine(predictions, references, engine)]
    return measure(predictions, references, use_stemmer=use_stemmer, types=asked)


def choose_engine(predictions: Sequence[str], references: Sequence[str], engine: Engine = "auto") -> str:
    """Return the name of the engine that `score_pairs` takes: "compiled" or "python".

    Raises:
        PartError: no such engine.
    """
    if engine not in ENGINES:
        raise PartError(f'no ROUGE engine "{engine}"', hint=near_name_hint(engine, ENGINES))
    if engine != "auto":
        return engine
    if library.find() is not None:
        return "compiled"
    num_letters = sum(map(len, predictions)) + sum(map(len, references))
    return "compiled" if num_letters >= _MIN_LETTERS_TO_BUILD and library.try_build() else "python"


def best_of_references(
    predictions: Sequence[str], references: Sequence[Sequence[str]], **options: object
) -> dict[str, Fractions]:
    """Score against several references each and keep, per type, the figures of the one with the highest F1.

    The first of equals, as rouge-score's ``score_multi`` does. Options are those of `score_pairs`.

    Raises:
        DataError: an example has no reference; and what `score_pairs` raises.
    """
    if any(not several for several in references) or len(predictions) != len(references):
        raise DataError("every prediction needs at least one reference", hint="Drop the examples that have none.")
    repeated = [text for text, several in zip(predictions, references, strict=True) for _ in several]
    flat = [text for several in references for text in several]
    results = partial(score_pairs, repeated, flat)(**options)  # type: ignore[arg-type]
    return {name: _best(fractions, [len(several) for several in references]) for name, fractions in results.items()}


def _best(fractions: Fractions, sizes: list[int]) -> Fractions:
    chosen, start = [], 0
    for size in sizes:
        chosen.append(max(range(start, start + size), key=fractions.fmeasure.__getitem__))
        start += size
    return Fractions(
        *([column[i] for i in chosen] for column in (fractions.precision, fractions.recall, fractions.fmeasure))
    )


def _split(texts: Sequence[str], splitter: Splitter) -> list[str]:
    """Return the texts with one sentence a line."""
    from kilowit.parts.punkt import split_sentences

    if splitter == "punkt+newline":
        return ["\n".join(split_sentences(text)) for text in texts]
    return ["\n".join(sentence.replace("\n", " ") for sentence in split_sentences(text)) for text in texts]


_MEASURES: Final = {"python": engine_python.measure, "compiled": engine_compiled.measure}
