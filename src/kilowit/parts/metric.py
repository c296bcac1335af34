"""What a metric is: a file ``parts/metrics/<name>.py`` with ``NAMES``, ``score`` and ``signature``.

``score(predictions, references) -> MetricResult``; ``signature() -> str`` is computed from the metric's settings.
A metric with ``NEEDS_SOURCE = True`` is given ``sources=``, the whole documents, too. A metric that has options defines

* ``Options``: a `Block` (pydantic) of them; ``score`` and ``signature`` then take ``options=``;
* ``names(options)`` and ``needs_source(options)``, where these depend on the options;
* ``check(options)``: refuse what cannot work on this machine, when a study is read or a file is about to be scored;
* ``PACKAGES`` and ``EXTRA``: modules that it imports, and the extra of kilowit that brings them, if not ``metrics``;
* ``second_per_pair(options)``: what an encoder takes for a pair on a CPU core, None = unknown; n-grams
  need not say;
* ``fetch(options)``: download what it needs, apart from scoring; ``needs_fetch(options)``: whether it must.

Options that name local files are listed in ``Options.path_options`` (always a path), ``folder_options`` (a path if it
begins as one, else a hub id) or ``command_options`` (a list whose items are paths if they begin as one).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from kilowit import parts
from kilowit.errors import PartError, StudyError, near_name_hint
from kilowit.record import Score
from kilowit.settings import Block

Written = str | Mapping[str, Any]  # a metric as a study writes it: its name, or {name: {options}}


@dataclass(frozen=True)
class MetricResult:
    """Corpus scores, and per example the values that paired tests need.

    `per_example[name][i]` is the value of `name` for example i, in the order of the predictions. A score that is not
    the mean of these (BLEU) gives `contributions` as well, whose mean it is: they are what comparisons resample.
    """

    scores: tuple[Score, ...]
    per_example: dict[str, list[float]]
    contributions: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricCall:
    """One metric with its options, as a study or a caller named it."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, written: Written) -> MetricCall:
        """Read a metric's name, or ``{name: {options}}``.

        Raises:
            StudyError: neither of them, or no metric of that name.
        """
        name, options = (written, {}) if isinstance(written, str) else _only_item(written)
        known = parts.names("metrics")
        if name not in known:
            raise StudyError(f'no metric "{name}"', place="--metrics", hint=near_name_hint(name, known))
        if not isinstance(options, Mapping):
            raise StudyError(
                f'options of "{name}" are {options!r:.40}, not a mapping', place="--metrics", hint=_OPTIONS_HINT
            )
        return cls(name, dict(options))

    @property
    def written(self) -> str | dict[str, Any]:
        """The shortest way to write it in a study."""
        return {self.name: dict(self.options)} if self.options else self.name

    @property
    def label(self) -> str:
        """Its name, with what tells it from others of that name, e.g. ``judge:alignscore``."""
        return f"{self.name}:{self.options['name']}" if isinstance(self.options.get("name"), str) else self.name

    @property
    def module(self) -> ModuleType:
        """The file that defines the metric."""
        return parts.load("metrics", self.name)

    @property
    def score_names(self) -> tuple[str, ...]:
        """The names of the scores that it gives."""
        names: tuple[str, ...] = self._asked("names", self.module.NAMES)
        return names

    @property
    def needs_source(self) -> bool:
        """Whether it reads the documents."""
        return bool(self._asked("needs_source", getattr(self.module, "NEEDS_SOURCE", False)))

    @property
    def needs_fetch(self) -> bool:
        """Whether `fetch` may ask the network."""
        return bool(self._asked("needs_fetch", False))

    @property
    def second_per_pair(self) -> float | None:
        """Seconds that a plan adds for a pair on a CPU core; 0 = counted with the n-grams, None = unknown."""
        second: float | None = self._asked("second_per_pair", 0.0)
        return second

    def signature(self) -> str:
        """Return what its values depend on, in one line.

        Raises:
            PartError: an option is wrong, or what it needs is not installed.
        """
        return str(self.module.signature(**self._keywords()))

    def require_packages(self) -> None:
        """Refuse a machine that lacks a package which the metric imports.

        Raises:
            PartError: says which extra to install.
        """
        for package in getattr(self.module, "PACKAGES", ()):
            if importlib.util.find_spec(package) is None:
                raise self._needs_package(package)

    def check(self) -> None:
        """Refuse options that cannot work on this machine.

        Raises:
            PartError: says which and what to do.
        """
        self._asked("check", None)

    def fetch(self) -> None:
        """Download what it needs, if anything.

        Raises:
            PartError: there is no such thing to download.
            CellFailure: the hub cannot be reached (kind ``download_failed``).
        """
        with self._needing_packages():
            self._asked("fetch", None)

    def score(
        self, predictions: Sequence[str], references: Sequence[str], sources: Sequence[str] | None
    ) -> MetricResult:
        """Score predictions; `sources` must be given if `needs_source`.

        Raises:
            DataError: the texts do not pair up.
            PartError: an option is wrong, or a package that it needs is not installed.
        """
        of_source = {"sources": sources} if self.needs_source else {}
        with self._needing_packages():
            result: MetricResult = self.module.score(predictions, references, **of_source, **self._keywords())
        return result

    @contextmanager
    def _needing_packages(self) -> Iterator[None]:
        try:
            yield
        except ModuleNotFoundError as error:
            raise self._needs_package(str(error.name)) from error

    def _needs_package(self, package: str) -> PartError:
        extra = getattr(self.module, "EXTRA", "metrics")
        return PartError(
            f'metric "{self.name}" needs the package {package}', hint=f"Install it: pip install 'kilowit[{extra}]'."
        )

    def _keywords(self) -> dict[str, Block]:
        """The options as the metric's own `Options`, if it has any.

        Raises:
            PartError: an option is unknown, missing or out of range.
        """
        block: type[Block] = getattr(self.module, "Options", _NoOptions)
        try:
            parsed = block.model_validate(dict(self.options))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"]) or "options"
            raise PartError(
                f'metric "{self.name}": {where}: {first["msg"]}',
                hint=f"`kilowit parts metrics {self.name}` lists its options.",
            ) from error
        return {} if block is _NoOptions else {"options": parsed}

    def _asked(self, function: str, default: Any) -> Any:
        """Return what a function of the metric says of these options, or `default` where it has none."""
        keywords = self._keywords()
        asked = getattr(self.module, function, None)
        return default if asked is None else asked(**keywords)


def repeated_score(calls: Iterable[MetricCall]) -> tuple[str, str] | None:
    """Return the first score that two of these metrics give, and the name of the later one."""
    seen: set[str] = set()
    for call in calls:
        for name in call.score_names:
            if name in seen:
                return name, call.name
            seen.add(name)
    return None


class _NoOptions(Block):
    """A metric without options."""


_OPTIONS_HINT = "Example: {sentence_similarity: {encoder: ./my-encoder}}."


def _only_item(written: Any) -> tuple[str, Any]:
    if isinstance(written, Mapping) and len(written) == 1:
        name, options = next(iter(written.items()))
        if isinstance(name, str):
            return name, options
    raise StudyError(
        f"expected a metric's name or {{metric: {{options}}}}, found {written!r:.60}",
        place="--metrics",
        hint=_OPTIONS_HINT,
    )
