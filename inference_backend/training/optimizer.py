"""The optimiser: AdamW, or Muon on the hidden matrices with AdamW on everything else."""

from __future__ import annotations

import torch
from torch import nn

from inference_backend.training.config import OptimConfig

BETAS = (0.9, 0.98)
# Muon is for matrices between hidden features; what reads the input or writes the output stays with AdamW.
_HIDDEN = ("attention.qkv", "attention.out", "mlp.up", "mlp.down", "gather", "spread")


class Optimizer:
    """One or two of torch's optimisers behind the few methods that a training loop needs.

    Muon's steps are scaled to AdamW's usual size (Liu et al. 2025, "Muon is scalable for LLM training"), so
    one learning rate serves both.
    """

    def __init__(self, model: nn.Module, config: OptimConfig):
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        hidden = [p for name, p in trained if config.optimizer == "muon" and _is_hidden(name, p)]
        chosen = {id(p) for p in hidden}
        others = [p for _, p in trained if id(p) not in chosen]
        on = others[0].device.type
        groups = [
            {"params": [p for p in others if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS, fused=on in ("cuda", "cpu"))
        ]
        if hidden:
            self.parts.append(
                torch.optim.Muon(
                    hidden, lr=config.learning_rate, weight_decay=config.weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )  # fmt: skip

    def step(self, learning_rate: float) -> None:
        """One step with the gradients as they are."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict]:
        """What an exact resume needs."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, state: list[dict]) -> None:
        """Raises ValueError when the state is of another optimiser or another network."""
        if not isinstance(state, list) or len(state) != len(self.parts):
            raise ValueError("the checkpoint is of another optimiser")
        for part, one in zip(self.parts, state, strict=True):
            part.load_state_dict(one)


def _is_hidden(name: str, p: torch.Tensor) -> bool:
    return p.ndim == 2 and name.endswith(".weight") and name.removesuffix(".weight").endswith(_HIDDEN)
