"""A study on Azure Machine Learning: files of the v2 schema written, checked, submitted, and the entry points of jobs.

Stands right of the exchange: it turns a study into files, and its jobs call the plan, the run and the report. Nothing
here but `submit` imports an Azure package.
"""

from __future__ import annotations

from kilowit.azureml.export import AzureExport, export_study
from kilowit.azureml.lint import Finding, lint_folder, require_clean
from kilowit.azureml.options import AzureOptions
from kilowit.azureml.submit import Submitted, submit

__all__ = [
    "AzureExport", "AzureOptions", "Finding", "Submitted", "export_study", "lint_folder", "require_clean", "submit",
]  # fmt: skip
