"""ENAS' controller: a policy that chooses one decision after another by an LSTM (Pham et al., ICML 2018, section 2.2).

Shapes: n architectures, D decisions, K values of the decision that has most, V vocabulary, H hidden.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.spaces.base import SearchSpace

from ..limits import Limits
from ..nao.codecs import tokens_of
from ..nao.tokens import START
from .masks import masks_of
from .settings import PolicySettings

INITIAL = 0.1
"""Initial parameters are uniform between minus this and this (section 3.1; the code)."""

TINY = 1e-30
"""Keeps the noise finite."""

PATIENCE, LIMITED_BATCH = 500, 256
"""So many batches, each of at least so many architectures, without one within the limits say that there is none."""

_NUMBERS = re.compile(r"\d+(_\d+)*")


class Drawn(NamedTuple):
    """``rows: (n, D)`` int64, ``log_prob: (n,)`` of each, and ``entropy: (n,)``, the sum of the entropies of the D
    choices on the way; its expectation is the policy's entropy. In nats."""

    rows: Tensor
    log_prob: Tensor
    entropy: Tensor


class Policy(nn.Module):
    """A distribution over the architectures of ``space``: each choice is a softmax over the decision's values, given
    the choices before it.

    Logits z become ``c tanh(z / temperature)``. c is ``tanh_constant``, divided by ``op_tanh_reduce`` at decisions that
    choose operations; those whose values are all numbers choose inputs. Values that lead to no architecture have
    probability zero.
    """

    offsets: Tensor
    scale: Tensor

    def __init__(self, space: SearchSpace, settings: PolicySettings) -> None:
        super().__init__()
        self.space, self.settings = space, settings
        self.tokens = tokens_of(space)
        self.masks = masks_of(space, self.tokens.counts)
        self.embedding = nn.Embedding(self.tokens.vocabulary, settings.hidden)
        self.lstm = nn.LSTM(settings.hidden, settings.hidden, settings.layers, batch_first=True)
        self.output = nn.Linear(settings.hidden, self.tokens.vocabulary, bias=False)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -INITIAL, INITIAL)
        chooses_inputs = np.array([all(_NUMBERS.fullmatch(value) for value in values) for values in self.tokens.values])
        c = settings.tanh_constant or 1.0
        self.register_buffer("offsets", torch.from_numpy(self.tokens.offsets), persistent=False)
        self.register_buffer(
            "scale",
            torch.from_numpy(np.where(chooses_inputs, c, c / settings.op_tanh_reduce)).float(),
            persistent=False,
        )

    def _log_probs(self, hidden: Tensor, rows: Tensor, position: int, heat: float = 1.0) -> Tensor:
        """LSTM states (n, H) before decision ``position`` -> log-probabilities (n, K) of its values, after those in
        ``rows: (n, D)``.
        """
        allowed = torch.from_numpy(self.masks.at(rows.numpy(), position))
        start, count = int(self.offsets[position]), int(self.tokens.counts[position])
        logits = hidden @ self.output.weight[start : start + count].T / self.settings.temperature
        if self.settings.tanh_constant is not None:
            logits = self.scale[position] * torch.tanh(logits)
        wide = torch.nn.functional.pad(logits / heat, (0, allowed.shape[1] - count))
        return torch.log_softmax(wide.masked_fill(~allowed, -torch.inf), dim=-1)

    def _drawn(self, rows: Tensor, choices: list[Tensor]) -> Drawn:
        """Of the log-probabilities (n, K) at each decision."""
        logs = torch.stack(choices, dim=1)
        log_prob = logs.gather(2, rows.unsqueeze(-1)).squeeze(-1).sum(dim=1)
        finite = logs.masked_fill(logs == -torch.inf, 0.0)  # 0 log 0 = 0, and no NaN in its gradient
        return Drawn(rows, log_prob, -(finite.exp() * finite).sum(dim=(1, 2)))

    def evaluate(self, rows: Tensor) -> Drawn:
        """Of given architectures ``rows: (n, D)`` int64: log-probability and entropy, with gradients, in one call of
        the LSTM.

        An architecture that the policy cannot draw has log-probability minus infinity.
        """
        before = torch.cat([rows.new_full((len(rows), 1), START), (rows + self.offsets)[:, :-1]], dim=1)
        hidden, _ = self.lstm(self.embedding(before))
        return self._drawn(rows, [self._log_probs(hidden[:, d], rows, d) for d in range(self.tokens.length)])

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator, heat: float = 1.0) -> Drawn:
        """``n`` architectures, independently. ``heat`` > 1 divides the bounded logits by it and so flattens the
        distribution.

        The largest of log-probability plus Gumbel noise is chosen, so that a value without probability is never drawn.
        """
        depth, width = self.tokens.length, self.masks.fixed.shape[1]
        noise = -torch.empty(n, depth, width).exponential_(generator=generator).clamp_min(TINY).log()
        rows = torch.zeros(n, depth, dtype=torch.int64)
        token, state, choices = torch.full((n, 1), START), None, []
        for d in range(depth):
            hidden, state = self.lstm(self.embedding(token), state)
            choices.append(self._log_probs(hidden[:, 0], rows, d, heat))
            rows[:, d] = (choices[-1] + noise[:, d]).argmax(dim=-1)
            token = (rows[:, d] + self.offsets[d]).unsqueeze(1)
        return self._drawn(rows, choices)

    def sample_within(self, n: int, generator: torch.Generator, limits: Limits, heat: float = 1.0) -> Tensor:
        """``n`` rows (n, D) int64 as :meth:`sample` draws them, in which those beyond ``limits`` are drawn again.

        Raises:
            ConfigError: none is within them, as far as draws tell.
        """
        rows = self.sample(n, generator, heat).rows
        if not limits.given:
            return rows
        met, idle = self._within(rows, limits), 0
        while len(met) < n and idle < PATIENCE:
            more = self._within(self.sample(max(n, LIMITED_BATCH), generator, heat).rows, limits)
            met, idle = torch.cat([met, more]), 0 if len(more) else idle + 1
        if len(met) < n:
            raise limits.unmet(self.space)
        return met[:n]

    def _within(self, rows: Tensor, limits: Limits) -> Tensor:
        return rows[torch.from_numpy(limits.mask(self.space, rows.numpy().astype(np.int8)))]


def build(space: SearchSpace, settings: PolicySettings, seed: int) -> Policy:
    """A fresh policy, nearly uniform; its parameters are a function of ``seed``.

    Raises:
        ConfigError: a space whose decisions exclude one another, other than NAS-Bench-101.
    """
    with torch_fork(seed, "enas controller"):
        return Policy(space, settings)
