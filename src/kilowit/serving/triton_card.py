"""How a model repository is started, for its README: in a container of NVIDIA's, or beside kilowit under its meter."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kilowit.parts.standalone import NEEDS
from kilowit.parts.text_codec import Manifest
from kilowit.serving.triton_config import CONFIG_FILE
from kilowit.serving.triton_repository import GRAPHS

IMAGE: Final = "nvcr.io/nvidia/tritonserver:24.10-py3"


def triton_usage(name: str, folder: Path) -> str:
    """Return the section on how a repository is used.

    Args:
        name: of the model that takes text.
        folder: of its version.
    """
    manifest = Manifest.read(folder)
    options = ", ".join(f"{option} {value}" for option, value in vars(manifest.generate).items())
    return _USAGE.format(
        name=name,
        version=folder.relative_to(folder.parents[1]).as_posix(),
        config=CONFIG_FILE,
        image=IMAGE,
        packages=", ".join(NEEDS[manifest.runtime]),
        graphs=_graphs(name) if manifest.runtime == "onnxruntime" else "",
        longest=f"{manifest.max_source_tokens:,}",
        options=options,
    )


def _graphs(name: str) -> str:
    encoder, decoder = (f"{name}_{graph}" for graph in GRAPHS)
    return _GRAPHS.format(encoder=encoder, decoder=decoder, name=name)


_GRAPHS: Final = """`{encoder}` and `{decoder}` are the two graphs alone, for the backend onnxruntime of the container
and a search of your own: the decoder makes one step, for rows that go on from their `parents`. The model above does not
need them; leave their folders out, or name the models that you want (`--model-control-mode explicit --load-model
{name}`), and they take no memory.

"""
_USAGE: Final = """## How to use

A model repository for NVIDIA Triton. `{name}` takes text and gives its summary; its Python needs {packages}.
Put them beside the model, with the Python of the container, and start:

```sh
docker run --rm -v "$PWD:/models" {image} \\
  pip install --target /models/{version}/packages -r /models/{version}/requirements.txt
docker run --rm -p 8000-8002:8000-8002 -v "$PWD:/models" {image} \\
  tritonserver --model-repository /models
```

Under the meter of kilowit, which then says in each answer what it took:

```sh
kilowit serve THIS_FOLDER --engine triton
```

```sh
curl localhost:8000/v2/models/{name}/infer -d '{{"inputs": [{{"name": "text", "shape": [1, 1], "datatype": "BYTES",
  "data": ["A long text."]}}], "parameters": {{"max_new_tokens": 60}}}}'
```

| output | what it is |
| --- | --- |
| `summary` | text |
| `num_input_tokens`, `num_output_tokens` | tokens read and written |
| `batch_size` | documents that were computed together |
| `energy_joules`, `co2e_grams` | of this document; -1 = unknown, for nothing meters it |

Parameters of a request: num_beams, max_new_tokens, min_new_tokens, length_penalty, no_repeat_ngram_size, and client,
a tag that its cost is booked on. `{config}` says how requests are gathered, how many wait and how long.

{graphs}Documents are cut to {longest} tokens. Where a request says nothing else: {options}."""
