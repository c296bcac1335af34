"""How the published trainings of summarizers are written as settings of a study: the table behind `train: paper`.

Numbers come from the facts; what a paper says in words (batches, optimizer, schedule) is translated here, and what
cannot be followed is said in `departs`. Only rows that were read at their source are taken, none from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

Row = dict[str, str]
FP16: Final = "published in fp16: add the method fp16 or bf16"
TOKEN_BATCHES: Final = (
    "published with batches of a number of tokens, about 64 documents of full length by our arithmetic"
)
OTHER_SCALE: Final = "published Adafactor scales its steps by the size of the parameters (from memory)"


class Translation(NamedTuple):
    """What the words of one row mean; batch = per device x accumulated."""

    batch_size: int
    gradient_accumulation_steps: int
    optimizer: str
    schedule: str = "linear"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0  # Hugging Face's default, where the source does not say
    departs: str = ""


_FAIRSEQ: Final = Translation(16, 4, "adamw", "linear", 500, 0.01, 0.1, f"{TOKEN_BATCHES}; {FP16}")
_PEGASUS: Final = Translation(8, 1, "adafactor", "inverse_sqrt", departs=OTHER_SCALE)
# (family, dataset here) -> (model, dataset, steps or epochs in the facts), how to read it.
TRANSLATIONS: Final = {
    ("bart", "samsum"): (("BART-large", "samsum", "3 epochs (348 steps)"), Translation(16, 8, "adamw", departs=FP16)),
    ("bart", "xsum"): (("BART-large", "xsum", "15000 updates"), _FAIRSEQ),
    ("bart", "cnn_dailymail"): (("BART-large", "cnn_dailymail", "20000 updates"), _FAIRSEQ),
    ("pegasus", "xsum"): (("PEGASUS-large", "xsum", "30000 steps"), _PEGASUS),
    ("pegasus", "cnn_dailymail"): (("PEGASUS-large", "cnn_dailymail", "210000 steps"), _PEGASUS),
    ("pegasus", "reddit_tifu"): (("PEGASUS-large", "reddit_tifu long", "8000 steps"), _PEGASUS),
    ("pegasus", "big_patent"): (("PEGASUS-large", "big_patent all", "50000 steps"), _PEGASUS),
    ("pegasus", "samsum"): (
        ("PEGASUS-xsum", "samsum", "3 epochs"),
        Translation(8, 8, "adafactor", weight_decay=0.1, departs="published from PEGASUS fine-tuned on XSum"),
    ),
    ("t5", "samsum"): (
        ("T5-large", "samsum", "3 epochs"),
        Translation(8, 8, "adamw", departs="published in fp16, in which T5 overflows: add the method bf16"),
    ),
    ("t5", "cnn_dailymail"): (
        ("T5-base", "cnn_dailymail", "3 epochs"),
        Translation(16, 8, "adamw", departs="published in fp16, in which T5 overflows: add the method bf16"),
    ),
    ("led", "samsum"): (("LED-large", "samsum", "3 epochs"), Translation(8, 8, "adamw", departs=FP16)),
    ("led", "cnn_dailymail"): (("LED-large", "cnn_dailymail", "3 epochs"), Translation(8, 8, "adamw", departs=FP16)),
    ("prophetnet", "cnn_dailymail"): (
        ("ProphetNet-large", "cnn_dailymail", "10 epochs (ckpt 9)"),
        Translation(16, 32, "adamw", "inverse_sqrt", 1000, 0.01, 0.1, f"published takes the 9th of 10 epochs; {FP16}"),
    ),
    ("unilm", "xsum"): (
        ("UniLM 1.2 base", "xsum", "32000 steps"),
        Translation(16, 4, "adamw", warmup_steps=500, departs=f"published fills in [MASK] tokens; {FP16}"),
    ),
    ("unilm", "cnn_dailymail"): (
        ("UniLM 1.2 base", "cnn_dailymail", "45000 steps"),
        Translation(8, 8, "adamw", warmup_steps=1000, departs=f"published fills in [MASK] tokens; {FP16}"),
    ),
}


def paper_training_rows(read: Callable[[str], list[Row]]) -> Iterable[Row]:
    """Yield one row for each family and dataset, its columns named as the settings of `train`."""
    facts = {
        (row["model"], row["dataset"], row["steps_or_epochs"]): row for row in reversed(read("paper_hyperparameters"))
    }
    for (family, dataset), (key, words) in TRANSLATIONS.items():
        row = facts[key]
        if "read" not in row["verified"]:
            raise ValueError(f"{key} was not read at its source")
        number, unit = row["steps_or_epochs"].split()[:2]
        yield {
            "family": family,
            "dataset": dataset,
            "num_epochs": number if unit.startswith("epoch") else "",
            "num_steps": number if unit in ("steps", "updates") else "",
            "batch_size": str(words.batch_size),
            "gradient_accumulation_steps": str(words.gradient_accumulation_steps),
            "learning_rate": row["learning_rate"],
            "schedule": words.schedule,
            "warmup_steps": str(words.warmup_steps),
            "weight_decay": str(words.weight_decay),
            "max_grad_norm": str(words.max_grad_norm),
            "label_smoothing": row["label_smoothing"],
            "optimizer": words.optimizer,
            "max_source_tokens": row["max_source_len"].split()[0],
            "max_target_tokens": row["max_target_len"],
            "departs": words.departs,
            "source": f"{key[0]}: {row['source']}",
        }
