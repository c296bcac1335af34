"""Loading models: from scratch, from folders, and from the hub through a stand-in of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub_stand_in import commit, hub_stand_in
from kilowit.errors import PartError
from kilowit.parts import catalogue
from kilowit.parts.dataset import Corpus, Split
from kilowit.parts.model import LoadedModel

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
LENGTHS = {"max_source_tokens": 64, "max_target_tokens": 32}
TINY = [
    "bart-tiny", "t5-tiny", "pegasus-tiny", "bigbird_pegasus-tiny", "led-tiny", "longt5-tiny", "mbart-tiny", "mt5-tiny",
    "pegasus_x-tiny", "prophetnet-tiny", "bert2bert-tiny", "unilm-tiny", "llama-tiny", "gpt2-tiny",
]  # fmt: skip


def make_corpus(name: str = "mine") -> Corpus:
    documents = [f"Tom met Ann in café number {i}. They spoke about the {i % 7}th plan at length." for i in range(80)]
    split = Split([str(i) for i in range(80)], documents, [f"Tom and Ann discussed plan {i % 7}." for i in range(80)])
    return Corpus(name, "made", "cc0", "document", "summary", split, split, split, "0" * 64)


def load(spec: dict[str, Any], *, seed: int = 0, corpus: Corpus | None = None) -> LoadedModel:
    from kilowit.parts.pretrained import load_model

    return load_model(spec, corpus=corpus or make_corpus(), seed=seed, **LENGTHS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A saved tiny BART with its tokenizer."""
    folder = tmp_path_factory.mktemp("saved") / "mini-bart"
    loaded = load({"scratch": "bart-tiny", "vocabulary_size": 400})
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    yield folder


@pytest.mark.parametrize("name", TINY)
def test_a_family_from_scratch_trains_and_generates(name: str) -> None:
    loaded = load({"scratch": name, "vocabulary_size": 600})
    corpus, tokenizer, model = make_corpus(), loaded.tokenizer, loaded.model
    size = catalogue.resolve_dimensions({"scratch": name, "vocabulary_size": 600})
    assert size is not None and sum(p.numel() for p in model.parameters()) == size.num_parameters
    assert len(tokenizer) == model.config.vocab_size == 600
    sources = [loaded.family.prefix + text for text in corpus.train.documents[:8]]
    batch = tokenizer(sources, return_tensors="pt", padding=True, truncation=True, max_length=64)
    labels = tokenizer(list(corpus.train.summaries[:8]), return_tensors="pt", padding=True)["input_ids"]
    labels[labels == tokenizer.pad_token_id] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    ids = model.generate(**inputs, max_new_tokens=6, min_new_tokens=0)
    assert ids.shape[0] == 8 and ids.shape[1] <= 7


@pytest.mark.parametrize("name", TINY)
def test_the_tokenizer_frames_text_as_its_family_does_and_gives_it_back(name: str, tmp_path: Path) -> None:
    tokenizer = load({"scratch": name, "vocabulary_size": 500}).tokenizer
    text = "Tom's café\n costs 3 €  — or more?"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    if name in ("bart-tiny", "led-tiny"):
        special = [tokenizer.convert_tokens_to_ids(token) for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")]
        assert special == [0, 1, 2, 3, 499] and (ids[0], ids[-1]) == (0, 2)
    elif name in ("bert2bert-tiny", "unilm-tiny"):
        special = [tokenizer.convert_tokens_to_ids(token) for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")]
        assert special == [0, 1, 2, 3] and (ids[0], ids[-1]) == (1, 2)
    elif name in ("llama-tiny", "gpt2-tiny", "mbart-tiny"):
        first = "en_XX" if name == "mbart-tiny" else "<s>"
        words = ("<|endoftext|>", "<|pad|>") if name == "gpt2-tiny" else (first, "<pad>", "</s>", "<unk>")
        special = [tokenizer.convert_tokens_to_ids(token) for token in words]
        assert special == list(range(len(words))) and ids[-1] == tokenizer.eos_token_id
    else:
        texts = ("[PAD]", "[SEP]", "[UNK]") if name == "prophetnet-tiny" else ("<pad>", "</s>", "<unk>")
        special = [tokenizer.convert_tokens_to_ids(token) for token in texts]
        assert special == [0, 1, 2] and ids[-1] == 1 and 0 not in ids
    tokenizer.save_pretrained(tmp_path)
    load({"scratch": name, "vocabulary_size": 500}).model.save_pretrained(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert again(text)["input_ids"] == ids
    assert again.decode(ids, skip_special_tokens=True) == text
    assert (again.pad_token_id, again.eos_token_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    spec = {"scratch": "t5-tiny", "vocabulary_size": 400}
    first, same, other = load(spec), load(spec), load(spec, seed=1)
    pairs = list(zip(first.model.parameters(), same.model.parameters(), other.model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)
    assert first.tokenizer.get_vocab() == same.tokenizer.get_vocab()


def test_a_vocabulary_that_cannot_hold_all_bytes_is_refused() -> None:
    with pytest.raises(PartError, match="a vocabulary of 200 tokens cannot hold 256 bytes") as caught:
        load({"scratch": "bart-tiny", "vocabulary_size": 200})
    assert "at least 261" in str(caught.value.hint)


def test_long_sources_get_positions_from_scratch() -> None:
    from kilowit.parts.pretrained import load_model

    loaded = load_model({"scratch": "bart-tiny", "vocabulary_size": 400}, corpus=make_corpus(), seed=0,
                        max_source_tokens=1500, max_target_tokens=32)  # fmt: skip
    assert loaded.model.config.max_position_embeddings == 1500


def test_a_saved_folder_gives_the_same_model(saved: Path) -> None:
    loaded = load({"folder": str(saved)}, seed=7)
    fresh = load({"scratch": "bart-tiny", "vocabulary_size": 400})
    assert (loaded.source, loaded.name, loaded.family.name) == ("folder:mini-bart", "mini-bart", "bart")
    state = fresh.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.model.state_dict().items())


def test_a_ready_tokenizer_serves_a_model_from_scratch(saved: Path) -> None:
    loaded = load({"scratch": "bart-mini", "tokenizer": str(saved)})
    assert loaded.model.config.vocab_size == len(loaded.tokenizer) == 400
    assert (loaded.model.config.pad_token_id, loaded.model.config.decoder_start_token_id) == (1, 2)


def test_a_folder_without_weights_is_refused_unless_random_ones_are_asked_for(saved: Path, tmp_path: Path) -> None:
    for name in ("config.json", "generation_config.json"):
        shutil.copy(saved / name, tmp_path)
    with pytest.raises(PartError, match="no tokenizer in the folder"):
        load({"folder": str(tmp_path)})
    with pytest.raises(PartError, match="a configuration but no weights") as caught:
        load({"folder": str(tmp_path), "tokenizer": str(saved)})
    assert "weights: random" in str(caught.value.hint)
    loaded = load({"folder": str(tmp_path), "tokenizer": str(saved), "weights": "random"})
    assert loaded.source.endswith("(random weights)")


def test_weights_that_are_broken_or_lack_tensors_are_refused(saved: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "broken"
    shutil.copytree(saved, folder)
    (folder / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(PartError, match="the weights cannot be loaded"):
        load({"folder": str(folder)})
    tensors = load_file(saved / "model.safetensors")
    del tensors["model.decoder.layers.1.fc1.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PartError, match=r"the weights lack 1 tensors, first model\.decoder\.layers\.1\.fc1\.weight"):
        load({"folder": str(folder)})


def test_more_tokens_than_positions_are_refused_before_training(saved: Path) -> None:
    from kilowit.parts.pretrained import load_model

    with pytest.raises(PartError, match="mini-bart has 1024 positions, the study asks for 2048 tokens"):
        load_model({"folder": str(saved)}, corpus=make_corpus(), seed=0, max_source_tokens=2048, max_target_tokens=32)


def test_generation_settings_are_the_familys_for_the_dataset_and_no_others(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    shutil.copytree(saved, folder)
    (folder / "generation_config.json").write_text(json.dumps(
        {"min_length": 56, "max_length": 142, "forced_bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
         "decoder_start_token_id": 2}
    ))  # fmt: skip
    config = load({"folder": str(folder)}, corpus=make_corpus("xsum")).model.generation_config
    assert (config.num_beams, config.max_new_tokens, config.min_new_tokens) == (6, 61, 10)
    assert (config.forced_bos_token_id, config.decoder_start_token_id, config.eos_token_id) == (0, 2, 2)
    assert not config.min_length


CHILD = """
import json, sys
sys.path.insert(0, sys.argv[1])
from test_pretrained import load
from kilowit.errors import KilowitError
answers = []
for spec in json.loads(sys.argv[2]):
    try:
        loaded = load(spec)
        total = float(sum(p.double().abs().sum() for p in loaded.model.parameters()))
        answers.append({"source": loaded.source, "name": loaded.name, "total": total})
    except KilowitError as error:
        answers.append({"error": type(error).__name__, "kind": getattr(error, "kind", None), "message": str(error)})
print(json.dumps(answers))
"""


def ask(home: Path, endpoint: str, specs: list[dict[str, Any]], **environment: str) -> list[dict[str, Any]]:
    """Load models in a process of its own: the hub's client reads its environment once, when imported."""
    here = Path(__file__).parent
    tests = here.parents[2]
    variables = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    variables = {**variables, "HF_HUB_OFFLINE": "0", **environment}
    variables["PYTHONPATH"] = os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", CHILD, str(here), json.dumps(specs)]
    child = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
    assert child.returncode == 0, child.stderr
    answers: list[dict[str, Any]] = json.loads(child.stdout.splitlines()[-1])
    return answers


def test_a_hub_model_is_fetched_once_and_then_loads_offline(saved: Path, tmp_path: Path) -> None:
    root, home = tmp_path / "hub", tmp_path / "home"
    shutil.copytree(saved, root / "models/acme/tiny-bart/main")
    (root / "models/acme/tiny-bart/main/tf_model.h5").write_bytes(b"not fetched")
    shutil.copytree(saved, root / "models/acme/empty/main", ignore=shutil.ignore_patterns("*.safetensors"))
    unknown = root / "models/acme/opt/main"
    shutil.copytree(saved, unknown)
    (unknown / "config.json").write_text('{"model_type": "opt"}')
    lacking = root / "models/acme/lacking/main"
    shutil.copytree(saved, lacking)
    (lacking / "config.json").write_text('{"model_type": "gpt2"}')
    specs = [{"hub": f"acme/{name}", "revision": None} for name in ("tiny-bart", "empty", "opt", "lacking", "none")]
    specs.append({"hub": "acme/tiny-bart", "revision": "v9"})
    specs.append({"hub": "acme/empty", "weights": "random"})
    with hub_stand_in(root) as (endpoint, requests):
        fine, empty, opt, lacks, none, no_revision, untrained = ask(home, endpoint, specs)
    assert fine["source"] == f"hub:acme/tiny-bart@{commit('models', 'acme/tiny-bart', 'main')}"
    assert fine["name"] == "tiny-bart"
    assert untrained["source"] == f"hub:acme/empty@{commit('models', 'acme/empty', 'main')} (random weights)"
    assert not any("tf_model" in request for request in requests)
    assert [answer["error"] for answer in (empty, opt, lacks, none, no_revision)] == ["PartError"] * 5
    assert "has no weights for PyTorch" in empty["message"]
    assert 'model type "opt" is not supported' in opt["message"] and "bart" in opt["message"]
    assert "config.json of a gpt2 lacks n_" in lacks["message"]
    assert "is not on the hub" in none["message"] and "no such revision" in no_revision["message"]
    offline = ask(home, endpoint, [specs[0], specs[4]], HF_HUB_OFFLINE="1")
    assert offline[0] == fine
    assert (offline[1]["error"], offline[1]["kind"]) == ("CellFailure", "download_failed")
