"""Whatever tokens come in whatever portions: the pieces of text, put together, are the summary."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilowit.parts.runtime import GenerateOptions
from kilowit.parts.text_codec import Manifest, Positions, SpecialIds, TextCodec
from kilowit.serving.text_stream import TextStream

pytest.importorskip("tokenizers")
TEXTS = (
    "I don't know . She's here , isn't she ? Yes ! We 've been ' there ' and they 're n ' t .",
    "naïve café – 東京 🙂🙂 👩‍👩‍👧 €5 … \n\ttab  two  spaces",
    "' s ' m n't n 't 've .. ' ' ' .",
)
MANIFEST = Manifest(
    name="x", family="bart", prefix="", max_source_tokens=512, positions=Positions(None, None), vocabulary_size=1,
    special_ids=SpecialIds((2,), 1, 2), generate=GenerateOptions(), runtime="torch", precision="fp32", source="x",
    signature="x",
)  # fmt: skip


@functools.cache
def real_tokenizer(path: str) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(path)


@functools.cache
def words_tokenizer() -> Any:
    """Tokens that are pieces of what clean-up joins, each written as it is."""
    from tokenizers import Tokenizer, decoders, models

    pieces = [" ", "  ", "'", "n", "t", "s", "m", "n't", "'s", "x", ".", ",", "!", " n", " '", " n't", "ve", "re", "\n"]
    tokenizer = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token=" "))
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def check(codec: TextCodec, row: list[int], portions: list[int]) -> None:
    stream, pieces, start = TextStream(codec), [], 0
    for size in [*portions, len(row)]:
        pieces.append(stream.add(row[start : start + size]))
        start += size
    whole = codec.decode([row])[0]
    assert whole.startswith("".join(pieces))
    assert "".join(pieces) + stream.finish(whole) == whole


@pytest.mark.parametrize("name", ["bart", "t5", "pegasus", "bert-uncased"])
@pytest.mark.parametrize("is_cleaned", [False, True])
@settings(max_examples=60)
@given(data=st.data())
def test_pieces_of_real_vocabularies_are_the_summary(
    shared_dir: Path, name: str, is_cleaned: bool, data: st.DataObject
) -> None:
    tokenizer = real_tokenizer(str(shared_dir / "data" / "tokenizers" / name / "tokenizer.json"))
    codec = TextCodec(replace(MANIFEST, cleans_up_spaces=is_cleaned), tokenizer)
    written = tokenizer.encode(data.draw(st.sampled_from(TEXTS))).ids
    stray = st.lists(st.integers(0, tokenizer.get_vocab_size() - 1), max_size=12)
    cut = data.draw(st.integers(0, len(written)))
    check(codec, written[:cut] + data.draw(stray) + written[cut:], data.draw(st.lists(st.integers(0, 3), max_size=40)))


@settings(max_examples=300)
@given(row=st.lists(st.integers(0, 18), max_size=20), portions=st.lists(st.integers(0, 3), max_size=20))
def test_pieces_are_certain_where_clean_up_joins_words(row: list[int], portions: list[int]) -> None:
    check(TextCodec(replace(MANIFEST, cleans_up_spaces=True), words_tokenizer()), row, portions)


def test_a_character_of_several_tokens_comes_whole(shared_dir: Path) -> None:
    tokenizer = real_tokenizer(str(shared_dir / "data" / "tokenizers" / "bart" / "tokenizer.json"))
    codec = TextCodec(MANIFEST, tokenizer)
    row = tokenizer.encode("a 🙂 b").ids
    stream = TextStream(codec)
    pieces = [stream.add([token]) for token in row]
    assert len(row) > len([piece for piece in pieces if piece])
    assert all("\ufffd" not in piece for piece in pieces)
    assert "".join(pieces) + stream.finish("a 🙂 b") == "a 🙂 b"
