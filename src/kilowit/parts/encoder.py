"""Read texts with a sentence-transformers encoder, with transformers alone: vectors of texts and of tokens.

``modules.json`` of the encoder's folder says what follows the Transformer: pooling, a dense layer, normalisation. A
folder without it is a plain encoder, whose tokens are averaged. Texts longer than the encoder's limit are read in
consecutive windows, each to itself: nothing is cut off, but no token sees beyond its window.

All is float32, whatever training has set. Tensors: B windows, T tokens, D width. Stands below the metrics with an
encoder; imports torch.

Source: N. Reimers and I. Gurevych, "Sentence-BERT", 2019, arXiv 1908.10084; the file formats are those of
sentence-transformers 5.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging

from kilowit.errors import PartError
from kilowit.parts.encoder_files import EncoderFiles, read_json

MAX_TOKENS_AT_ONCE: Final = 8_192  # of a batch, padding included: 200 MB of activations at a width of 384
_NO_LIMIT: Final = 100_000  # tokenizers write 1e30 for "no limit"
_PLAIN: Final = ({"path": "", "type": "Transformer"}, {"path": "", "type": "Pooling"})
_POOLINGS: Final = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")


@dataclass(frozen=True)
class Window:
    """Consecutive tokens of one text, with the encoder's special tokens around them."""

    text: int  # which of the texts
    ids: list[int]
    is_special: list[int]


class Encoder:
    """An encoder in memory, on the GPU where there is one.

    Args:
        files: where it is.

    Raises:
        PartError: the folder is not a sentence-transformers encoder that can be read here.
    """

    def __init__(self, files: EncoderFiles) -> None:
        self.identity = files.identity
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        folder, modules = files.folder, _modules(files.folder)
        self._tokenizer = _load_tokenizer(folder)
        self._model = _load_model(folder).to(self.device)
        settings = read_json(folder, "sentence_bert_config.json", {})
        self._is_lower = bool(settings.get("do_lower_case"))
        self.max_tokens = _max_tokens(settings, self._model.config, self._tokenizer)
        self._poolings: tuple[str, ...] = ("mean_tokens",)
        self._after: list[Callable[[Any], Any]] = []
        for module in modules:
            self._add(folder / module["path"], str(module["type"]).rpartition(".")[2], folder)

    @property
    def num_layers(self) -> int:
        """How many layers it has; the embeddings are layer 0."""
        config = self._model.config
        return int(getattr(config, "num_hidden_layers", None) or config.num_layers)

    def text_vectors(self, texts: Sequence[str]) -> Any:
        """Return one vector of length 1 a text, shape (texts, D), on the CPU; zeros for a text without tokens.

        The vector of a text of several windows is their mean, weighted by their tokens; then come the modules behind
        the pooling.
        """
        distinct = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        windows = self._windows(list(distinct))
        sums: list[Any] = [0.0] * len(distinct)
        totals = [0] * len(distinct)
        for batch, hidden_BTD, mask_BT in self._hidden(windows, None):
            pooled_BD = torch.cat([_pool(name, hidden_BTD, mask_BT) for name in self._poolings], dim=1)
            for window, pooled_D in zip(batch, pooled_BD.cpu(), strict=True):
                sums[window.text] = sums[window.text] + pooled_D * len(window.ids)
                totals[window.text] += len(window.ids)
        has_content = [False] * len(distinct)
        for window in windows:
            has_content[window.text] |= not all(window.is_special)
        vectors_ND = torch.stack([total / num for total, num in zip(sums, totals, strict=True)])
        for step in self._after:
            vectors_ND = step(vectors_ND)
        unit_ND = torch.nn.functional.normalize(vectors_ND, dim=1) * torch.tensor(has_content)[:, None]
        return unit_ND[[distinct[text] for text in texts]]

    def token_vectors(self, texts: Sequence[str], layer: int) -> list[Any]:
        """Return by text the vectors of its tokens at a layer, each of length 1, without special tokens."""
        found: list[dict[int, Any]] = [{} for _ in texts]
        windows = self._windows(texts)
        order = {id(window): place for place, window in enumerate(windows)}
        for batch, hidden_BTD, _ in self._hidden(windows, layer):
            unit_BTD = torch.nn.functional.normalize(hidden_BTD, dim=2).cpu()
            for window, unit_TD in zip(batch, unit_BTD, strict=True):
                kept = [place for place, special in enumerate(window.is_special) if not special]
                found[window.text][order[id(window)]] = unit_TD[kept]
        return [torch.cat([pieces[place] for place in sorted(pieces)]) for pieces in found]

    def _windows(self, texts: Sequence[str]) -> list[Window]:
        cleaned = [text.lower() if self._is_lower else text for text in (_encodable(text) for text in texts)]
        encoded = self._tokenizer(
            cleaned,
            truncation=True,
            max_length=self.max_tokens,
            padding=False,
            return_overflowing_tokens=True,
            return_special_tokens_mask=True,
        )
        columns = (encoded["overflow_to_sample_mapping"], encoded["input_ids"], encoded["special_tokens_mask"])
        return [Window(int(text), list(ids), list(special)) for text, ids, special in zip(*columns, strict=True)]

    def _hidden(self, windows: Sequence[Window], layer: int | None) -> Iterator[tuple[list[Window], Any, Any]]:
        """Yield batches of windows of like length with their hidden states and their mask of real tokens."""
        pad = self._tokenizer.pad_token_id or 0
        for batch in _batches(sorted(windows, key=lambda window: -len(window.ids))):
            longest = len(batch[0].ids)
            ids_BT = torch.tensor([window.ids + [pad] * (longest - len(window.ids)) for window in batch])
            mask_BT = torch.tensor([[1] * len(w.ids) + [0] * (longest - len(w.ids)) for w in batch])
            ids_BT, mask_BT = ids_BT.to(self.device), mask_BT.to(self.device)
            with torch.inference_mode(), _whole_float32():
                output = self._model(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=layer is not None)
            hidden_BTD = output.last_hidden_state if layer is None else output.hidden_states[layer]
            yield batch, hidden_BTD.float(), mask_BT

    def _add(self, folder: Path, kind: str, place: Path) -> None:
        """Take one module of ``modules.json``."""
        if kind == "Pooling":
            self._poolings = _read_poolings(read_json(folder, "config.json", {}), str(folder))
        elif kind == "Dense":
            self._after.append(_read_dense(folder))
        elif kind == "Normalize":
            self._after.append(lambda vectors_ND: torch.nn.functional.normalize(vectors_ND, dim=1))
        elif kind != "Transformer":
            raise PartError(
                f'the encoder has a module "{kind}"',
                place=str(place),
                hint="Known: Transformer, Pooling, Dense, Normalize. Name another encoder.",
            )


@lru_cache(maxsize=1)
def load_encoder(files: EncoderFiles) -> Encoder:
    """Return an encoder, the one in memory if it was the last to be asked for.

    Raises:
        PartError: as `Encoder`.
    """
    return Encoder(files)


def _modules(folder: Path) -> Sequence[Mapping[str, Any]]:
    modules = read_json(folder, "modules.json", _PLAIN)
    if not all(isinstance(module, dict) and {"path", "type"} <= set(module) for module in modules):
        raise PartError("modules.json names no modules", place=str(folder), hint="Copy the encoder's files again.")
    if modules[0]["path"] not in ("", "."):  # some encoders keep the Transformer in a folder of its own
        raise PartError(
            f"the Transformer is not in the folder itself but in {modules[0]['path']}",
            place=str(folder),
            hint="Save the encoder again with sentence-transformers 3 or newer.",
        )
    return list(modules)


def _load_tokenizer(folder: Path) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise PartError(
            f"the tokenizer cannot be loaded ({error})", place=str(folder), hint="Copy the encoder's files again."
        ) from error
    if not tokenizer.is_fast:
        raise PartError("the tokenizer has no tokenizer.json", place=str(folder), hint="Name another encoder.")
    return tokenizer


def _load_model(folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder)
        if config.is_encoder_decoder and config.model_type in ("t5", "mt5"):
            from transformers import MT5EncoderModel, T5EncoderModel

            kind = T5EncoderModel if config.model_type == "t5" else MT5EncoderModel
        else:
            kind = AutoModel
        with _no_progress_bar():
            model, report = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise PartError(
            f"the encoder cannot be loaded ({error})", place=str(folder), hint="Copy its files again."
        ) from error
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)  # BERT's pooler is not used
    if missing:
        raise PartError(
            f"the weights lack {len(missing)} tensors, first {missing[0]}",
            place=str(folder),
            hint="Are these the weights of this config.json?",
        )
    return model.eval()


def _max_tokens(settings: Mapping[str, Any], config: Any, tokenizer: Any) -> int:
    """Return the longest window: what the folder says, and no more than there are positions."""
    limits = (settings.get("max_seq_length"), getattr(config, "max_position_embeddings", None))
    known = [int(limit) for limit in (*limits, tokenizer.model_max_length) if limit and limit < _NO_LIMIT]
    return min(known, default=512)


def _read_poolings(config: Mapping[str, Any], place: str) -> tuple[str, ...]:
    written = config.get("pooling_mode")  # sentence-transformers 5; before it, one key a mode
    if isinstance(written, str):
        asked = [next((name for name in _POOLINGS if name.rpartition("_")[0] == written), written)]
    else:
        modes = {key.removeprefix("pooling_mode_"): value for key, value in config.items()}
        asked = [mode for mode, value in modes.items() if value is True and mode not in config]
    unknown = [name for name in asked if name not in _POOLINGS]
    if unknown or not asked:
        raise PartError(
            f"pooling {unknown[0] if unknown else 'of no kind'}", place=place, hint=f"Known: {', '.join(_POOLINGS)}."
        )
    return tuple(name for name in _POOLINGS if name in asked)


def _pool(name: str, hidden_BTD: Any, mask_BT: Any) -> Any:
    """Return one vector a window."""
    if name == "cls_token":
        return hidden_BTD[:, 0]
    mask_BT1 = mask_BT.unsqueeze(2).to(hidden_BTD.dtype)
    if name == "max_tokens":
        return hidden_BTD.masked_fill(mask_BT1 == 0, float("-inf")).amax(dim=1)
    num_B1 = mask_BT1.sum(dim=1)
    return (hidden_BTD * mask_BT1).sum(dim=1) / (num_B1 if name == "mean_tokens" else num_B1.sqrt())


def _read_dense(folder: Path) -> Callable[[Any], Any]:
    """Return a dense layer with its activation."""
    from safetensors.torch import load_file

    config = read_json(folder, "config.json", {})
    weights, old = folder / "model.safetensors", folder / "pytorch_model.bin"
    if not weights.is_file() and not old.is_file():
        raise PartError("the dense layer has no weights", place=str(folder), hint="Copy the encoder's files again.")
    tensors = load_file(weights) if weights.is_file() else torch.load(old, weights_only=True, map_location="cpu")
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    if name not in ("Identity", "Tanh", "ReLU", "GELU"):
        raise PartError(f"the dense layer's activation is {name}", place=str(folder), hint="Name another encoder.")
    activation = getattr(torch.nn, name)()

    def apply(vectors_ND: Any) -> Any:
        return activation(
            torch.nn.functional.linear(vectors_ND, tensors["linear.weight"].float(), tensors.get("linear.bias"))
        )

    return apply


def _batches(windows: Sequence[Window]) -> Iterator[list[Window]]:
    """Yield windows, longest first, in batches of at most `MAX_TOKENS_AT_ONCE` tokens."""
    start = 0
    while start < len(windows):
        size = max(1, MAX_TOKENS_AT_ONCE // len(windows[start].ids))
        yield list(windows[start : start + size])
        start += size


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Keep what a method of training has set (tf32) away from the scores."""
    backend = torch.backends.cuda.matmul
    before, backend.fp32_precision = backend.fp32_precision, "ieee"
    try:
        yield
    finally:
        backend.fp32_precision = before


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Load in silence: what is said on standard error is for the user to read."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _encodable(text: str) -> str:
    """Return a text without lone surrogates, which tokenizers refuse."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
