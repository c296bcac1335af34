"""The Python model of an MLflow folder: MLflow runs this file, which `kilowit.serving.pyfunc` puts beside the weights.

A folder of ONNX Runtime, OpenVINO or CTranslate2 is run by its own ``summarize.py``, so that a server needs no kilowit;
of the PyTorch runtimes by kilowit. Documents come in the column ``document``, summaries go in the column ``summary``.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class SummarizerModel(PythonModel):  # type: ignore[misc]
    """An exported summarizer behind MLflow's interface."""

    def load_context(self, context: Any) -> None:
        """Load the summarizer of the artifact ``summarizer``."""
        folder = Path(context.artifacts["summarizer"])
        if (folder / "summarize.py").is_file():
            sys.path.insert(0, str(folder))
            from summarize import load
        else:
            from kilowit import load_summarizer as load
        self._summarizer: Any = load(folder)

    # Without annotations: MLflow reads them as a signature, and this model states its own.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Return a table with the summary of each document; `params` say how to search.

        Args:
            context: MLflow's own.
            model_input: a table with the column ``document``.
            params: those of the signature; those left out are as the folder says.
        """
        import pandas

        codec, generator = self._summarizer.codec, self._summarizer.generator
        options = dataclasses.replace(codec.manifest.generate, **(params or {}))
        documents = [str(text) for text in model_input["document"]]
        empty = [number for number, text in enumerate(documents, start=1) if not text.strip()]
        if empty:
            raise ValueError(f"document {empty[0]} is empty: leave it out")
        rows = generator.generate(codec.encode(documents), options) if documents else []
        return pandas.DataFrame({"summary": codec.decode(rows)})


set_model(SummarizerModel())
