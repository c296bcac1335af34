"""From rows of tokens to one padded tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence


def pad_rows(rows: Sequence[Sequence[int]], value: int, multiple: int = 1) -> Any:
    """Return the rows as one tensor [B, L], filled up with `value` to the longest, rounded up to `multiple`."""
    padded_BL = pad_sequence([torch.tensor(list(row)) for row in rows], batch_first=True, padding_value=value)
    missing = -padded_BL.shape[1] % multiple
    return torch.nn.functional.pad(padded_BL, (0, missing), value=value) if missing else padded_BL


def source_batch(rows: Sequence[Sequence[int]], pad_token_id: int, multiple: int = 1) -> dict[str, Any]:
    """Return ``input_ids`` and ``attention_mask`` [B, S] of some tokenized sources."""
    ids_BS = pad_rows(rows, pad_token_id, multiple)
    lengths_B1 = torch.tensor([[len(row)] for row in rows])
    mask_BS = (torch.arange(ids_BS.shape[1])[None, :] < lengths_B1).long()
    return {"input_ids": ids_BS, "attention_mask": mask_BS}
