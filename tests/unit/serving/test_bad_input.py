"""What people feed a summarizer: a summary or one clear error, never a hang, whatever the runtime."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_summarizer import installed

import kilowit
from kilowit.errors import PartError
from kilowit.serving import Summarizer

LONG = " ".join(random.Random(0).choices(["return", "value", "list", "key"], k=100_000))
DOCUMENTS = {
    "empty": "",
    "white space": " \n\t ",
    "one character": "a",
    "100,000 words": LONG,
    "not English": "这是一篇关于能源的文章。 Это статья об энергии. هذه مقالة عن الطاقة",
    "control characters": "\x00\x01\x07 return\x1b[31m the\x7f value\u200b\u202e",
    "special tokens as text": "<s></s><pad></s> return",
    "emoji and combining marks": "👩‍👩‍👧 e\u0301" * 20,
}


@pytest.fixture(scope="module", params=installed())
def summarizer(request: pytest.FixtureRequest, model_folder: Path) -> Iterator[Summarizer]:
    with kilowit.load_summarizer(model_folder, runtime=request.param, max_source_tokens=40) as found:
        yield found


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_odd_documents_get_a_summary(name: str, summarizer: Summarizer) -> None:
    (written,) = summarizer.write([DOCUMENTS[name]])
    assert isinstance(written.text, str)
    assert (0 if name == "empty" else 1) <= len(written.tokens) <= summarizer.options.max_new_tokens
    assert written.num_input_tokens <= 40


@pytest.mark.timeout(60)
def test_odd_documents_do_not_change_their_neighbours(summarizer: Summarizer) -> None:
    plain = "return the value of a given key"
    alone = summarizer.summarize([plain])
    assert summarizer.summarize([plain, *DOCUMENTS.values()])[:1] == alone


@pytest.mark.parametrize("wrong", [None, 3, b"bytes", "half a character \ud800"])
def test_what_is_no_text_is_one_error_with_its_place(wrong: object, summarizer: Summarizer) -> None:
    with pytest.raises(PartError) as caught:
        summarizer.summarize(["fine", wrong])  # type: ignore[list-item]
    assert caught.value.place == "document 2"
    assert caught.value.hint
