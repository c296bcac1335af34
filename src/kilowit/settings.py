"""What a cell can be told: training, prediction, measuring, factors, budget. Frozen pydantic models.

These are the blocks of a study that are not names of parts. A method receives `Settings` and returns a changed
copy (``settings.with_train(gradient_accumulation_steps=4)``); nothing else may change what the user wrote.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from kilowit.wording import counted

Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Block(BaseModel):
    """A strict, frozen block of a study: unknown keys are errors, ``true`` is not 1, ``"3"`` is not 3."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TrainSettings(Block):
    """How a model is fine-tuned. Without `num_steps`, `num_epochs` decides."""

    num_epochs: Positive = Field(3.0, description="passes over the training split")
    num_steps: Count | None = Field(None, description="optimizer steps; overrides num_epochs")
    batch_size: Count = Field(16, description="examples per forward pass, shared out over the processes, if several")
    gradient_accumulation_steps: Count = Field(1, description="forward passes per optimizer step")
    learning_rate: Positive = 5.0e-5
    schedule: Literal["linear", "constant", "cosine", "constant_with_warmup", "inverse_sqrt"] = "linear"
    warmup_steps: Annotated[int, Field(ge=0)] = Field(0, description="optimizer steps of rising learning rate")
    weight_decay: NonNegative = 0.0
    max_grad_norm: NonNegative = Field(1.0, description="clip the gradient's norm; 0 = do not clip")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    optimizer: Literal["adamw", "adafactor", "adam8bit"] = Field(
        "adamw", description="adam8bit needs the package bitsandbytes; the method of that name checks and proves it"
    )
    max_source_tokens: Count = 512
    max_target_tokens: Count = 128
    num_validations: Annotated[int, Field(ge=0)] = Field(
        1, description="times that the validation loss is taken, evenly spread, the last at the end; 0 = never"
    )
    engine: Literal["trainer", "loop"] | None = Field(
        None, description="trainer: Hugging Face's; loop: ours; None = the first of them that all methods work with"
    )


class RuntimeSettings(Block):
    """What runs a trained model: ``torch_fast``, or ``{name: onnxruntime, precision: int8}``."""

    name: str = Field(description="`kilowit parts runtimes` lists them")
    precision: str | None = Field(None, description="number format of the export; None = the runtime's first")
    num_threads: Count | None = Field(None, description="on the CPU; None = the runtime's own choice")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``onnxruntime`` or ``onnxruntime:int8``.

        >>> RuntimeSettings.parse("onnxruntime:int8").label
        'onnxruntime int8'
        """
        name, _, precision = text.partition(":")
        return cls(name=name, precision=precision or None)

    @property
    def label(self) -> str:
        """Name and what was asked of it, e.g. ``onnxruntime int8``."""
        threads = "" if self.num_threads is None else counted(self.num_threads, "thread")
        return " ".join(word for word in (self.name, self.precision or "", threads) if word)


def _named(value: Any) -> Any:
    """Let a runtime's name stand for the runtime with nothing else said."""
    return {"name": value} if isinstance(value, str) else value


Runtime = Annotated[RuntimeSettings, BeforeValidator(_named)]


class PredictSettings(Block):
    """How summaries are generated. None = what the family's task-specific defaults say."""

    num_beams: Count | None = None
    max_new_tokens: Count | None = None
    min_new_tokens: Annotated[int, Field(ge=0)] | None = None
    length_penalty: float | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] | None = None
    batch_size: Count | None = Field(None, description="documents per batch; None = twice train.batch_size")
    split: Literal["test", "validation"] = Field("test", description="what is summarized and scored")
    runtime: Runtime | None = Field(None, description="what generates; None = the trained model, by transformers")

    @model_serializer(mode="wrap")
    def _without_default_runtime(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the runtime out where none is asked for: the keys of older cells stay what they were."""
        return _without_none(write(self), "runtime")

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if self.min_new_tokens and self.max_new_tokens and self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens {self.min_new_tokens} is above max_new_tokens {self.max_new_tokens}")
        return self


ScenarioName = Literal["single_stream", "fixed_batch", "random_arrivals", "offline"]
SCENARIOS: tuple[ScenarioName, ...] = ("single_stream", "fixed_batch", "random_arrivals", "offline")


class ServeSettings(Block):
    """How the trained model is served once it is scored: each runtime under each pattern of requests."""

    runtimes: list[Runtime] = Field(
        [RuntimeSettings(name="torch")], min_length=1, description="names, or {name:, precision:, num_threads:}"
    )
    scenarios: list[ScenarioName] = Field(
        list(SCENARIOS),
        min_length=1,
        description="single_stream: one document after another; fixed_batch: batch_size at a time; "
        "random_arrivals: as a Poisson process brings them; offline: all at once",
    )
    num_documents: Count = Field(64, description="test documents asked for in each scenario, the first ones")
    batch_size: Count = Field(16, description="most documents computed at once; single_stream: 1")
    rate_per_second: Positive = Field(1.0, description="requests of random_arrivals, on average")
    max_second: Positive = Field(60.0, description="after which a scenario takes no more requests; offline is not cut")
    num_warmup_requests: Annotated[int, Field(ge=0)] = Field(
        1, description="requests before each scenario that its figures leave out and the bill does not"
    )

    @model_validator(mode="after")
    def _check_repeated(self) -> Self:
        for what, values in (("runtimes", [r.label for r in self.runtimes]), ("scenarios", self.scenarios)):
            if repeated := [value for i, value in enumerate(values) if value in values[:i]]:
                raise ValueError(f'"{repeated[0]}" stands twice in {what}')
        return self


Days = Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)]


class MaintenanceSettings(Block):
    """The working life of a summarizer: load, upkeep, retraining. It is priced from what runs took; nothing runs it.

    The plan and the report set it beside every choice: what training, retraining, drift checks, serving and idling
    take over `horizon_day`.
    """

    horizon_day: Days = Field(365.0, description="length of the life that is priced")
    summaries_per_day: NonNegative = Field(1000.0, description="load: summaries asked for a day, on average")
    scenario: Literal["single_stream", "fixed_batch", "offline"] = Field(
        "single_stream",
        description="how they are asked for, and the scenario of serve: whose figures count. random_arrivals is none "
        "of them: it idles between requests, and idling is priced apart",
    )
    runtime: Runtime | None = Field(
        None,
        description="of serve.runtimes; None = the one that took least energy a summary (in a plan that knows no "
        "run: the first); without serve: prediction's own figures count",
    )
    endpoint_hour_per_day: Annotated[float, Field(ge=0, le=24)] = Field(
        24.0, description="hours a day that the endpoint is kept up, busy or idle; 0 = up only while it writes"
    )
    max_utilization_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        0.7, description="machines are added so that none is busy for a larger share of those hours"
    )
    retrain_every_day: Days | None = Field(90.0, description="None = no schedule")
    drift_check_every_day: Days | None = Field(7.0, description="None = never checked")
    drift_check_documents: Count = Field(200, description="documents that a check summarizes and scores")
    drift_retrain_fraction: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="share of checks that are expected to call for a retraining, besides the schedule"
    )

    @model_validator(mode="after")
    def _check_hours(self) -> Self:
        if 0 < self.endpoint_hour_per_day < 0.1:
            raise ValueError(f"endpoint_hour_per_day {self.endpoint_hour_per_day} is below 0.1; 0 = never kept up")
        return self


class MeasureSettings(Block):
    """How a cell is measured. Order and cool-down never change a result, only its noise."""

    idle_second: NonNegative = Field(10.0, description="idle baseline before each cell")
    cooldown_second: NonNegative = Field(10.0, description="pause between two cells")
    period_second: Annotated[float, Field(ge=0.05, le=60)] = Field(1.0, description="sampling period of the meter")
    order: Literal["shuffled", "listed"] = "shuffled"
    timeout_second: Positive | None = Field(None, description="wall time after which a cell is ended")
    keep_model: bool = Field(False, description="leave the trained model in the run folder")
    lock: Literal["wait", "refuse"] = Field("wait", description="when another measured run holds this machine")
    lock_wait_second: Positive | None = Field(None, description="how long `lock: wait` waits; null = until it is free")
    second_opinions: list[Literal["codecarbon", "zeus"]] = Field(
        [], description="other meters that run beside ours, each by its extra; on no bill"
    )

    @model_validator(mode="after")
    def _check_waiting(self) -> Self:
        if self.lock == "refuse" and self.lock_wait_second is not None:
            raise ValueError("lock: refuse waits for nothing, so lock_wait_second would be ignored; leave one out")
        return self


class FactorSettings(Block):
    """What turns joules and seconds into CO2e and dollars. None = unknown: the world's interval, no price."""

    region: str | None = Field(None, description="azure/westus2, aws/eu-west-1, gcp/..., country/FR, us/CAMX")
    machine: str | None = Field(None, description="VM size that is billed, e.g. Standard_NC24ads_A100_v4")
    pue: Annotated[float, Field(ge=1, le=5)] | None = Field(None, description="None = the region's, else 1.0 on local")


class MirrorSettings(Block):
    """Where the runs of a study are shown while they run, besides the folder of runs, which stays the truth."""

    mlflow: str | None = Field(
        None,
        description="tracking URI: sqlite:///mlflow.db, http://host:5000, azureml://...; None = MLFLOW_TRACKING_URI, "
        "else mlflow.db in the folder of runs",
    )
    experiment: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="None = as MLflow's variables say, else the name of the study"
    )

    @field_validator("mlflow")
    @classmethod
    def _check_uri(cls, uri: str | None) -> str | None:
        if uri is not None and (fault := tracking_uri_fault(uri)) is not None:
            raise ValueError(fault)
        return uri


def tracking_uri_fault(uri: str) -> str | None:
    """Say why MLflow could not track to a URI, or None."""
    scheme, colon, _ = uri.partition(":")
    if uri in ("databricks", "databricks-uc") or (colon and scheme.partition("+")[0] in _TRACKING_SCHEMES):
        return None
    old = scheme == "file" or not colon
    why = "MLflow keeps no runs in plain folders any more" if old else "of a kind that MLflow does not track to"
    return f'"{uri}" is no tracking URI: {why}'


_TRACKING_SCHEMES = frozenset({"sqlite", "http", "https", "azureml", "databricks", "postgresql", "mysql", "mssql"})


class BudgetSettings(Block):
    """What the whole study may spend. A cell that would pass a limit is not started."""

    cost_usd: Positive | None = None
    energy_kwh: Positive | None = None
    co2e_kg: Positive | None = None
    wall_hour: Positive | None = None


Precision = Literal["fp32", "tf32", "bf16", "fp16"]


class RankSettings(Block):
    """How training is spread over the processes of one machine, its ranks."""

    num_processes: Count = 1
    wrapper: Literal["none", "ddp", "fsdp", "deepspeed"] = "none"
    options: dict[str, Any] = {}  # the method's own, for whoever wraps the model


class Settings(Block):
    """All that a method may look at or change before a run starts."""

    train: TrainSettings = TrainSettings()
    predict: PredictSettings = PredictSettings()
    measure: MeasureSettings = MeasureSettings()
    serve: ServeSettings | None = None  # None: it is not served
    # Number format of the matrix products in every forward pass (autocast, or products of fp32 in TF32; weights stay
    # fp32). Not a key of a study: the methods of these names set it, so that nobody has it without checks and evidence.
    precision: Precision = "fp32"
    trains: bool = True  # no key of a study: zero_shot turns it off
    ranks: RankSettings = RankSettings()  # no key of a study either: ddp, fsdp, zero and zero_offload set it
    # Number format in which weights and gradients are stored while training; the method bf16_weights sets it.
    weights: Literal["fp32", "bf16"] = "fp32"
    # Target tokens whose logits are held at once in training; None = those of a batch. The method fused_loss sets it.
    loss_chunk_tokens: Count | None = None

    @model_serializer(mode="wrap")
    def _without_absent_serving(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the block out where nothing is served: older cells had none."""
        return _without_none(write(self), "serve")

    @property
    def runtimes(self) -> list[RuntimeSettings]:
        """All runtimes that a cell needs: the one that predicts and those that serve."""
        predicting = [] if self.predict.runtime is None else [self.predict.runtime]
        return predicting + ([] if self.serve is None else self.serve.runtimes)

    def with_precision(self, precision: Precision) -> Settings:
        """Return a copy whose forward passes compute in `precision`."""
        return self.model_copy(update={"precision": precision})

    def with_weights(self, weights: Literal["fp32", "bf16"]) -> Settings:
        """Return a copy whose weights and gradients are stored in `weights` while they are trained."""
        return self.model_copy(update={"weights": weights})

    def with_loss_chunks(self, chunk_tokens: int) -> Settings:
        """Return a copy whose training loss is taken from the logits of so many target tokens at a time."""
        return self.model_copy(update={"loss_chunk_tokens": chunk_tokens})

    def with_train(self, **changes: Any) -> Settings:
        """Return a copy with these training settings, validated like the study itself."""
        train = TrainSettings.model_validate({**self.train.model_dump(), **changes})
        return self.model_copy(update={"train": train})

    def with_predict(self, **changes: Any) -> Settings:
        """Return a copy with these prediction settings, validated like the study itself."""
        predict = PredictSettings.model_validate({**self.predict.model_dump(), **changes})
        return self.model_copy(update={"predict": predict})


def _without_none(written: dict[str, Any], key: str) -> dict[str, Any]:
    """Return what was written without a key that holds None."""
    return {name: value for name, value in written.items() if name != key or value is not None}
