"""What an export can be told: sizes, region, names, times. Checked before anything is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from kilowit import factors
from kilowit.azureml.vm_sizes import DEFAULT_CPU_SIZE, fault_of_size, vm_size
from kilowit.errors import StudyError
from kilowit.parts.runtime_support import check_runtime
from kilowit.study import Study

NAME_LENGTH: Final = 24  # of compute clusters, the shortest limit of all that is named after a study
DEFAULT_TIMEOUT_SECOND: Final = 86_400  # where the study has no budget.wall_hour: a day
DEFAULT_SCHEDULE: Final = "0 3 1 * *"  # the first of each month, 03:00
_CRON_FIELD: Final = re.compile(r"(\*|[0-9]+(-[0-9]+)?)(/[0-9]+)?(,(\*|[0-9]+(-[0-9]+)?)(/[0-9]+)?)*")
CRON_LIMITS: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


@dataclass(frozen=True, kw_only=True)
class AzureOptions:
    """How a study is to run on Azure.

    Attributes:
        machine: VM size that trains; None = the study's ``factors.machine``.
        region: Azure region without a prefix, e.g. ``westus2``; None = the study's ``factors.region``.
        cpu_machine: VM size that prepares, compresses, evaluates and reports.
        serve_machine: VM size of the endpoint's deployments; None = `cpu_machine`.
        max_nodes: most nodes of a cluster; a sweep runs as many trials at once.
        runtime: of the compressed model that is deployed.
        precision: its number format; None = the runtime's first.
        schedule: cron expression in UTC of the retraining.
    """

    machine: str | None = None
    region: str | None = None
    cpu_machine: str = DEFAULT_CPU_SIZE
    serve_machine: str | None = None
    max_nodes: int = 4
    runtime: str = "onnxruntime"
    precision: str | None = "int8"
    schedule: str = DEFAULT_SCHEDULE

    @property
    def serving(self) -> str:
        """VM size of the deployments."""
        return self.serve_machine or self.cpu_machine

    def machine_of(self, study: Study) -> str:
        """Return the VM size that trains.

        Raises:
            StudyError: nobody names one.
        """
        if found := self.machine or study.factors.machine:
            return found
        raise StudyError(
            "nobody says on which VM size to train",
            place=study.place,
            hint="Add --machine, e.g. Standard_NC4as_T4_v3, or factors.machine to the study.",
        )

    def region_of(self, study: Study) -> str | None:
        """Return the Azure region, e.g. ``westus2``, or None: nobody names one on Azure."""
        if self.region:
            return self.region.removeprefix("azure/")
        own = study.factors.region or ""
        return own.removeprefix("azure/") if own.startswith("azure/") else None

    def check(self, study: Study) -> None:
        """Refuse what could not run.

        Raises:
            StudyError: a VM size that is unknown or gone, a schedule that is none.
            PartError: the runtime is unknown or lacks the number format, or the region is unknown.
        """
        asked = (("--machine", self.machine_of(study), False), ("--cpu-machine", self.cpu_machine, False))
        for option, size, serves in (*asked, ("--serve-machine", self.serving, True)):
            if fault := fault_of_size(size, serves=serves):
                raise StudyError(fault[0], place=option, hint=fault[1])
        if (size_found := vm_size(self.cpu_machine)) and size_found.num_gpus:
            raise StudyError(
                f"{self.cpu_machine} has GPUs that these steps leave idle",
                place="--cpu-machine",
                hint=f"Name a size without, e.g. {DEFAULT_CPU_SIZE}.",
            )
        check_runtime(self.runtime, precision=self.precision)
        if region := self.region_of(study):
            factors.carbon(f"azure/{region}")
        if fault_text := fault_of_cron(self.schedule):
            raise StudyError(fault_text, place="--schedule", hint=f'Five fields in UTC, e.g. "{DEFAULT_SCHEDULE}".')


def fault_of_cron(expression: str) -> str | None:
    """Return what is wrong with a cron expression, or None.

    >>> fault_of_cron("0 25 * * *")
    'hour 25 is not within 0 to 23'
    """
    fields = expression.split()
    if len(fields) != len(CRON_LIMITS):
        return f'"{expression}" has {len(fields)} fields, not five'
    names = ("minute", "hour", "day", "month", "weekday")
    for name, field, (low, high) in zip(names, fields, CRON_LIMITS, strict=True):
        if not _CRON_FIELD.fullmatch(field):
            return f'"{field}" is no {name}'
        wrong = [n for n in re.findall(r"(?<!/)\b[0-9]+", field) if not low <= int(n) <= high]
        if wrong:
            return f"{name} {wrong[0]} is not within {low} to {high}"
    return None


def azure_name(text: str) -> str:
    """Return a name that clusters, data assets, environments and endpoints all take.

    Lower-case letters, digits and dashes, a letter first, no dash last, at most `NAME_LENGTH` characters.

    >>> azure_name("SAMSum_green.2")
    'samsum-green-2'
    """
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    name = name if name[:1].isalpha() else f"s-{name}"
    return name[:NAME_LENGTH].rstrip("-")
