"""Put the compiled ROUGE engine into a wheel, so that its users need no compiler.

Runs within hatchling when a wheel is built (``pip install .``, ``python -m build``). Where there is no C compiler the
wheel is the pure one, and says so: ROUGE then runs on its Python engine, or builds the library at first use.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledRouge(BuildHookInterface):
    """The hook that pyproject.toml names."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the library and add it to the wheel; leave an editable installation to build its own."""
        if version != "standard":
            return
        sys.path.insert(0, str(Path(self.root) / "src"))
        from kilowit.errors import PartError
        from kilowit.parts.rouge import library

        try:
            built = library.build(Path(self.directory) / "rouge")
        except PartError as error:
            self.app.display_warning(f"a wheel without the compiled ROUGE engine: {error}")
            return
        build_data["force_include"][str(built)] = f"kilowit/parts/rouge/{library.SOURCE_FOLDER.name}/{built.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
