"""An exported summarizer's tokenizer says what transformers' says, without transformers."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kilowit.errors import PartError
from kilowit.parts.runtime import GenerateOptions
from kilowit.parts.summarizer_folder import describe, open_codec, restate
from kilowit.parts.text_codec import MANIFEST_FILE, Manifest, Positions, SpecialIds, TextCodec

CONFIGS = {
    "bart": "bart-large-cnn", "t5": "t5-small", "pegasus": "pegasus-cnn_dailymail",
    "prophetnet": "prophetnet-large-uncased",
}  # fmt: skip
WORDS = (
    "Hello", "world!", "naïve", "café", "ﬁne", "Ünïcode", "日本語", "한국어", "😀", "👩‍👩‍👧", "e\u0301", "\u200b",
    "\xa0", "\t", "\n\n", "\u0000", "\u0007", "\ufeff", "</s>", "<pad>", "[SEP]", "<mask>", "  two", "1,000.50",
    "don't", "U.S.", "ΑΒΓ", "ß", "½", "\u202e", "العربية", "ไทย", "_", "▁", "Ġ", "\u2028", "…", "''", "``", "x" * 120,
)  # fmt: skip


def model_folder(shared_dir: Path, folder: Path, kind: str) -> Path:
    """Lay a tokenizer beside the configuration of a model that has it."""
    shutil.copytree(shared_dir / "data" / "tokenizers" / kind, folder)
    config = shared_dir / "data" / "configs" / CONFIGS[kind]
    for path in config.glob("*config.json"):
        if path.name != "tokenizer_config.json":
            shutil.copy(path, folder)
    return folder


def copy(tokenizer: Any) -> Any:
    return type(tokenizer).from_str(tokenizer.to_str())


def transformers_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def described(request: pytest.FixtureRequest, shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("transformers")
    folder = model_folder(shared_dir, tmp_path_factory.mktemp("codec") / "model", request.param)
    return folder, describe(folder), transformers_tokenizer(folder)


def fuzz(num_texts: int, kind: str = "") -> list[str]:
    draw = random.Random(7)
    texts = [draw.choice(["", " ", "a "]).join(draw.choices(WORDS, k=draw.randrange(1, 40))) for _ in range(num_texts)]
    if kind == "prophetnet":  # a converted tokenizer has another Unicode table: unassigned characters may differ
        return [*texts, "long text " * 600]
    planes = [chr(draw.choice([*range(0, 0xD800), *range(0xE000, 0x11000)])) for _ in range(500)]
    return [*texts, "".join(planes), "a", "long text " * 600, " ", "no_more"]


def test_encodings_equal_those_of_transformers_cut_with_the_end_token_kept(described: Any) -> None:
    _, codec, tokenizer = described
    texts = fuzz(100, codec.manifest.family)
    for limit in (codec.manifest.max_source_tokens, 16):
        cut = TextCodec(replace(codec.manifest, max_source_tokens=limit), copy(codec.tokenizer))
        expected = tokenizer([codec.manifest.prefix + t for t in texts], truncation=True, max_length=limit)["input_ids"]
        kept = [i for i, row in enumerate(expected) if row]
        assert cut.encode([texts[i] for i in kept]) == [expected[i] for i in kept]
        assert all(row[-1] == codec.manifest.special_ids.eos[0] for row in cut.encode(["word " * 3000]))


def test_decoded_text_equals_that_of_transformers(described: Any) -> None:
    _, codec, tokenizer = described
    draw = random.Random(3)
    rows = [[draw.randrange(len(tokenizer)) for _ in range(12)] for _ in range(200)] + codec.encode(fuzz(100)) + [[]]
    expected = [text.strip() for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]
    assert codec.decode(rows) == expected


def test_a_written_codec_is_read_back_the_same(tmp_path: Path) -> None:
    codec = TextCodec.load(small_codec(tmp_path))
    codec.write(tmp_path)
    again = TextCodec.load(tmp_path)
    assert again.manifest == codec.manifest
    assert again.encode(["a b a", "b"]) == codec.encode(["a b a", "b"]) == [[1, 2, 1], [2]]
    assert restate(tmp_path, name="mine").name == Manifest.read(tmp_path).name == "mine"
    assert open_codec(tmp_path).manifest.name == "mine"


def test_published_lengths_lose_the_start_token(shared_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    manifest = describe(model_folder(shared_dir, tmp_path / "bart-large-cnn", "bart")).manifest
    assert manifest.generate == GenerateOptions(4, 141, 55, 2.0, 3, True)
    assert manifest.special_ids == SpecialIds((2,), 1, 2, forced_bos=0, forced_eos=2)
    assert (manifest.family, manifest.max_source_tokens, manifest.name) == ("bart", 1024, "bart-large-cnn")


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("generation_config.json", {"repetition_penalty": 1.2}, "repetition_penalty = 1.2"),
        ("generation_config.json", {"early_stopping": "never"}, "early_stopping = 'never'"),
        ("config.json", {"model_type": "opt"}, '"opt" is not supported'),
    ],
)
def test_what_no_runtime_knows_is_refused(
    shared_dir: Path, tmp_path: Path, file: str, change: dict[str, Any], said: str
) -> None:
    pytest.importorskip("transformers")
    folder = model_folder(shared_dir, tmp_path / "model", "bart")
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(PartError, match=said):
        describe(folder)


def small_codec(folder: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "a": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    manifest = Manifest(
        name="m", family="bart", prefix="", max_source_tokens=8, positions=Positions(8, 8), vocabulary_size=3,
        special_ids=SpecialIds((0,), 0, 0), generate=GenerateOptions(), runtime="onnxruntime", precision="fp32",
        source="folder:m", signature="s",
    )  # fmt: skip
    TextCodec(manifest, tokenizer).write(folder)
    return folder


def test_bad_documents_are_one_clear_error(tmp_path: Path) -> None:
    codec = TextCodec.load(small_codec(tmp_path))
    for document, said in (("\ud800", "wrong encoding"), (b"a", "not text but bytes"), ("", "nothing to summarize")):
        with pytest.raises(PartError, match=said) as raised:
            codec.encode(["a", document])  # type: ignore[list-item]
        assert raised.value.place == "document 2" and raised.value.hint


def test_bad_folders_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PartError, match="no such folder"):
        TextCodec.load(tmp_path / "none")
    folder = small_codec(tmp_path)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(PartError, match="tokenizer cannot be loaded"):
        TextCodec.load(folder)
    for text, said in (
        ("{", "not JSON"),
        ("[]", "schema_version None"),
        (json.dumps({**manifest, "schema_version": 9}), "schema_version 9 is not 1"),
        (json.dumps({**manifest, "colour": 1}), "colour"),
        (json.dumps({k: v for k, v in manifest.items() if k != "generate"}), "generate"),
    ):
        (folder / MANIFEST_FILE).write_text(text)
        with pytest.raises(PartError, match=said):
            TextCodec.load(folder)


def test_the_codec_imports_no_heavy_package(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from kilowit.parts.text_codec import TextCodec;"
        f"TextCodec.load(pathlib.Path({str(small_codec(tmp_path))!r})).encode(['a a']);"
        "print(sorted({'torch', 'numpy', 'pydantic', 'transformers'} & set(sys.modules)))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert seen.strip() == "[]"
