"""Several models that generate as one: the mean of their probabilities, word by word, under one beam search.

Needs torch: only the worker imports it. Used by the method ``ensemble``.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput


class AveragedModel(torch.nn.Module):  # type: ignore[misc]
    """Encoder-decoders of one vocabulary as one model that generates; the first leads the beam search.

    Each member reads the documents with its own encoder and keeps keys and values of its own; the beams are reordered
    in all of them. Equal members give the beams, and the scores, of one of them exactly.

    Args:
        members: models on one device.
    """

    def __init__(self, members: list[Any]) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(members)
        self.num_averaged_steps = 0

    @property
    def num_members(self) -> int:
        """How many models answer together."""
        return len(self.members)

    @property
    def config(self) -> Any:
        """The configuration of each member."""
        return self.members[0].config

    @property
    def generation_config(self) -> Any:
        """The generation settings of the first member."""
        return self.members[0].generation_config

    @property
    def device(self) -> torch.device:
        """Where all members are."""
        return self.members[0].device

    def generate(self, input_ids: Any, attention_mask: Any, generation_config: Any) -> Any:
        """Generate as ``transformers`` does, with the mean of the members' probabilities at every step.

        Args:
            input_ids: [B, S]; likewise `attention_mask`.
            generation_config: `transformers.GenerationConfig`, obeyed by the first member's ``generate``.
        """
        leader, *others = self.members
        caches = _Caches(len(others))
        encoded = [
            other.get_encoder()(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            for other in others
        ]

        def average(module: Any, arguments: Any, given: dict[str, Any], output: Any) -> Any:
            """Replace the leader's logits by the log of the mean probability."""
            ids_KT = given["decoder_input_ids"]
            num_beams = ids_KT.shape[0] // input_ids.shape[0]
            mask_KS = attention_mask.repeat_interleave(num_beams, dim=0)
            logs = [output.logits.float().log_softmax(dim=-1)]
            for other, hidden_BSD, cache in zip(others, encoded, caches.others, strict=True):
                read = BaseModelOutput(last_hidden_state=hidden_BSD.repeat_interleave(num_beams, dim=0))
                answer = other(
                    encoder_outputs=read,
                    attention_mask=mask_KS,
                    decoder_input_ids=ids_KT,
                    past_key_values=cache,
                    use_cache=True,
                )
                logs.append(answer.logits.float().log_softmax(dim=-1))
            output.logits = log_mean_probability(logs)
            self.num_averaged_steps += 1
            return output

        config = copy.deepcopy(generation_config)
        config.use_cache = True
        handle = leader.register_forward_hook(average, with_kwargs=True)
        try:
            return leader.generate(
                input_ids=input_ids,
                attention_mask=attention_mask,
                generation_config=config,
                past_key_values=caches,
            )
        finally:
            handle.remove()

    def save_pretrained(self, folder: Path) -> None:
        """Save each member in a folder of its own."""
        for number, member in enumerate(self.members):
            member.save_pretrained(Path(folder) / f"member-{number}")


class _Caches(EncoderDecoderCache):  # type: ignore[misc]
    """The leader's keys and values, and those of the others, reordered with it."""

    def __init__(self, num_others: int) -> None:
        super().__init__(DynamicCache(), DynamicCache())
        self.others = [EncoderDecoderCache(DynamicCache(), DynamicCache()) for _ in range(num_others)]

    def reorder_cache(self, beam_idx: Any) -> None:
        """Let every member follow the beams that were chosen."""
        super().reorder_cache(beam_idx)
        for other in self.others:
            other.reorder_cache(beam_idx)


def log_mean_probability(logs: list[Any]) -> Any:
    """Return the log of the mean of probabilities that are given as logs; exact where all are equal.

    Args:
        logs: tensors of one shape.
    """
    first, *others = logs
    ratios = torch.stack([torch.ones_like(first), *((other - first).exp() for other in others)])
    mean_log = first + ratios.mean(dim=0).log()
    # Where the first is far less likely than the others, the ratio overflows: there the plain way is exact enough.
    plain = torch.stack(logs).logsumexp(dim=0) - torch.tensor(float(len(logs))).log()
    return torch.where(mean_log.isfinite(), mean_log, plain)
