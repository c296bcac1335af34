"""What a cell can be told: training, prediction, measuring, factors, budget. Frozen pydantic models.

These are the blocks of a study that are not names of parts. A method receives `Settings` and returns a changed
copy (``settings.with_train(gradient_accumulation_steps=4)``); nothing else may change what the user wrote.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

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


class PredictSettings(Block):
    """How summaries are generated. None = what the family's task-specific defaults say."""

    num_beams: Count | None = None
    max_new_tokens: Count | None = None
    min_new_tokens: Annotated[int, Field(ge=0)] | None = None
    length_penalty: float | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] | None = None
    batch_size: Count | None = Field(None, description="documents per batch; None = twice train.batch_size")

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if self.min_new_tokens and self.max_new_tokens and self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens {self.min_new_tokens} is above max_new_tokens {self.max_new_tokens}")
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


class FactorSettings(Block):
    """What turns joules and seconds into CO2e and dollars. None = unknown: the world's interval, no price."""

    region: str | None = Field(None, description="azure/westus2, aws/eu-west-1, gcp/..., country/FR, us/CAMX")
    machine: str | None = Field(None, description="VM size that is billed, e.g. Standard_NC24ads_A100_v4")
    pue: Annotated[float, Field(ge=1, le=5)] | None = Field(None, description="None = the region's, else 1.0 on local")


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
    # Number format of the matrix products in every forward pass (autocast, or products of fp32 in TF32; weights stay
    # fp32). Not a key of a study: the methods of these names set it, so that nobody has it without checks and evidence.
    precision: Precision = "fp32"
    ranks: RankSettings = RankSettings()  # no key of a study either: ddp, fsdp, zero and zero_offload set it
    # Number format in which weights and gradients are stored while training; the method bf16_weights sets it.
    weights: Literal["fp32", "bf16"] = "fp32"
    # Target tokens whose logits are held at once in training; None = those of a batch. The method fused_loss sets it.
    loss_chunk_tokens: Count | None = None

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
