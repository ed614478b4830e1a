"""The loop that all four share: seeded steps, progress with an estimate, a state that a stopped run goes on from."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from precompute.reporting import clock

log = logging.getLogger("precompute")
LossOf = Callable[[np.random.Generator], torch.Tensor]
"""The loss of one step; everything random in it is drawn from the generator, which the step seeds."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: AdamW with a linear warm-up and a cosine to zero."""

    n_steps: int
    learning_rate: float = 1e-3
    warm_up: float = 0.08
    weight_decay: float = 0.01
    clip_norm: float = 1.0

    def rate(self, step: int) -> float:
        """The learning rate of a step, 0 to n_steps - 1."""
        n_up = max(round(self.warm_up * self.n_steps), 1)
        if step < n_up:
            return self.learning_rate * (step + 1) / n_up
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - n_up) / max(self.n_steps - n_up, 1)))


def train(
    name: str, modules: nn.Module, loss_of: LossOf, schedule: Schedule, *, seed: int, state: Path, save_every: int = 200
) -> list[float]:
    """Train `modules` in place and return the loss of every step.

    `state` is written every `save_every` steps and read when it is there: a stopped run gives the same weights as one
    that was not stopped, since every step draws from its own seed. Raises nothing of its own.
    """
    optimiser = torch.optim.AdamW(modules.parameters(), weight_decay=schedule.weight_decay, betas=(0.9, 0.98))
    losses: list[float] = []
    if state.is_file():
        kept = torch.load(state, weights_only=True)
        modules.load_state_dict(kept["modules"])
        optimiser.load_state_dict(kept["optimiser"])
        losses = list(kept["losses"])
    modules.train()
    started, begun = time.monotonic(), len(losses)
    for step in range(len(losses), schedule.n_steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        torch.manual_seed(seed * 1_000_003 + step)
        loss = loss_of(np.random.default_rng([seed, step]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(modules.parameters(), schedule.clip_norm)
        optimiser.step()
        losses.append(float(loss.detach()))
        done = step + 1
        if done % 50 == 0 or done == schedule.n_steps:
            spent = time.monotonic() - started
            left = spent / (done - begun) * (schedule.n_steps - done)
            log.info(
                "%s: step %d of %d, loss %.3f, %s left",
                name,
                done,
                schedule.n_steps,
                np.mean(losses[-50:]),
                clock(left),
            )
        if done % save_every == 0 or done == schedule.n_steps:
            partial = state.with_suffix(".part")
            state.parent.mkdir(parents=True, exist_ok=True)
            torch.save(
                {"modules": modules.state_dict(), "optimiser": optimiser.state_dict(), "losses": losses}, partial
            )
            os.replace(partial, state)
    modules.eval()
    return losses
