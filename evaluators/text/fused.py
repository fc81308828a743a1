"""The cell and the loss of a small language model with hand-written gradients, equal to the plain ones up to rounding.

With 64 units most of a step's time is not in matrix products but around them: autograd keeps a node for every
activation of every token, and the logits (as many as words in a piece times words of the vocabulary) are read and
written many times. Here the backward pass of the recurrence has three operations a node and token, the matrices'
gradients are one product a piece, and logits live only in blocks that fit a cache. Gradients of gradients are refused.
Letters T, B, E, H, V as in ``spaces/recurrent/network.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from nni_plugins.spaces.recurrent.codec import Node
from nni_plugins.spaces.recurrent.network import LanguageModel

BLOCK = 1 << 18
"""Logits at once: a megabyte in single precision."""


def _activate(name: str, x: torch.Tensor) -> None:
    """In place."""
    if name != "identity":
        {"tanh": torch.tanh_, "relu": torch.relu_, "sigmoid": torch.sigmoid_}[name](x)


def _slope(name: str, value: torch.Tensor) -> torch.Tensor:
    """Derivative of an activation where its value is ``value``."""
    if name == "tanh":
        return 1 - value * value
    if name == "relu":
        return (value > 0).to(value.dtype)
    return value * (1 - value) if name == "sigmoid" else torch.ones_like(value)


class _Recurrence(torch.autograd.Function):
    """(words (T, B, 2 H), state (B, H), mask of states (B, H) or None, cell, W_0's part (2 H, H), matrices (2 H, H) of
    the nodes) -> (T, B, H).

    State 0 counts as node 0, which reads the previous output and applies tanh.
    """

    @staticmethod
    def forward(
        ctx: Any,
        words: torch.Tensor,
        state: torch.Tensor,
        mask: torch.Tensor | None,
        cell: Sequence[Node],
        *weights: torch.Tensor,
    ) -> Any:
        steps, batch, double = words.shape
        hidden, count = double // 2, len(weights)
        gates = [
            words.clone(),
            *(words.new_empty(words.shape) for _ in weights[1:]),
        ]  # of node j and token t: [sigmoid(c), f(g)]
        states = words.new_empty(count, steps, batch, hidden)
        outputs = words.new_empty(steps, batch, hidden)
        turned, names = [w.t() for w in weights], ["tanh", *(name for name, _ in cell)]
        sources = [source for _, source in cell]
        rows = [(gate.unbind(), gate[..., :hidden].unbind(), gate[..., hidden:].unbind()) for gate in gates]
        of_node, of_nodes, of_output = (
            [part.unbind() for part in states.unbind()],
            states[1:].unbind(1),
            outputs.unbind(),
        )
        h, scale = state, 1 / len(cell)
        for t in range(steps):
            for j in range(count):
                s = h if j == 0 else of_node[sources[j - 1]][t]
                read, (y, c, g) = s if mask is None else s * mask, (part[t] for part in rows[j])
                torch.addmm(y, read, turned[0], out=y) if j == 0 else torch.mm(read, turned[j], out=y)
                c.sigmoid_()
                _activate(names[j], g)
                torch.lerp(s, g, c, out=of_node[j][t])
            h = torch.sum(of_nodes[t], 0, out=of_output[t]).mul_(scale)
        ctx.save_for_backward(state, states, outputs, *gates, *weights, *([] if mask is None else [mask]))
        ctx.names, ctx.sources = names, sources
        return outputs

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, given: torch.Tensor) -> Any:
        names, sources = ctx.names, ctx.sources
        count, saved = len(names), ctx.saved_tensors
        state, states, outputs = saved[:3]
        gates, weights = saved[3 : 3 + count], saved[3 + count : 3 + 2 * count]
        mask = saved[3 + 2 * count] if len(saved) > 3 + 2 * count else None
        steps, batch, hidden = outputs.shape
        before = torch.cat([state[None], outputs[:-1]])
        reads = [before, *(states[source] for source in sources)]
        # d[c, g] of node j is its states' gradient times slopes[j]; what passes by the node is that gradient times
        # kept[j].
        slopes, kept = [], []
        for j, s in enumerate(reads):
            c, f = gates[j][..., :hidden], gates[j][..., hidden:]
            slopes.append(torch.stack([(f - s) * c * (1 - c), c * _slope(names[j], f)], 2))
            kept.append(1 - c)
        deltas = [torch.empty_like(slope) for slope in slopes]
        rows = [
            (slope.unbind(), keep.unbind(), delta.unbind())
            for slope, keep, delta in zip(slopes, kept, deltas, strict=True)
        ]
        targets, read_by_nodes = [None, *sources], set(sources)  # node 0 adds to what is carried to the token before
        carried = torch.zeros_like(state)
        for t, above in reversed(list(enumerate(given.unbind()))):
            share = carried.add_(above).mul_(1 / (count - 1))
            gradients = [
                torch.zeros_like(share),
                *(share.clone() if j in read_by_nodes else share for j in range(1, count)),
            ]
            carried = torch.zeros_like(share)
            for j in reversed(range(count)):
                own, (slope, keep, delta) = gradients[j], (part[t] for part in rows[j])
                source = targets[j]
                target = carried if source is None else gradients[source]
                flat_delta = torch.mul(own[:, None], slope, out=delta).view(batch, -1)
                target.addcmul_(own, keep)
                if mask is None:
                    target.addmm_(flat_delta, weights[j])
                else:
                    target.addcmul_(flat_delta @ weights[j], mask)
        flat = [delta.view(steps * batch, -1) for delta in deltas]
        found = [
            d.t() @ (s if mask is None else s * mask).reshape(steps * batch, hidden)
            for d, s in zip(flat, reads, strict=True)
        ]
        return deltas[0].view(steps, batch, -1), carried if ctx.needs_input_grad[1] else None, None, None, *found


def hidden_states(
    body: LanguageModel,
    tokens: torch.Tensor,
    state: torch.Tensor | None,
    cell: Sequence[Node],
    matrices: Sequence[torch.Tensor],
) -> torch.Tensor:
    """What ``body.hidden_states`` gives for one architecture, with the same masks of dropout: (T, B, H)."""
    body._check(tokens, state)
    x = body.embedding(tokens)
    words = body._mask(x, body.rates.dropoute, (body.embedding.num_embeddings, 1))
    x = x if words is None else x * F.embedding(tokens, words)
    of_sequence = (tokens.shape[1], x.shape[2])
    x = body._drop(body._drop(x, body.rates.dropouti, of_sequence), body.rates.dropoutx, of_sequence)
    of_words = F.linear(x, body.w0[:, : x.shape[2]])
    h = x.new_zeros(tokens.shape[1], body.hidden) if state is None else state
    mask = body._mask(h, body.rates.dropouth, tuple(h.shape))
    return cast(torch.Tensor, _Recurrence.apply(of_words, h, mask, tuple(cell), body.w0[:, x.shape[2] :], *matrices))  # type: ignore[no-untyped-call]


class _Loss(torch.autograd.Function):
    """(x (N, E), weight (V, E), bias (V,), targets (N,), needed) -> mean cross-entropy. The gradients, where needed,
    are made with it, block by block."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, targets: torch.Tensor, needed: bool
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64, device=x.device)
        of_x, of_weight, of_bias = (torch.zeros_like(part) for part in (x, weight, bias)) if needed else (x, x, x)
        rows, turned = max(1, BLOCK // len(weight)), weight.t()
        for first in range(0, len(x), rows):
            part, wanted = x[first : first + rows], targets[first : first + rows, None]
            logits = torch.addmm(bias, part, turned)
            logits -= logits.amax(1, keepdim=True)
            at_target = logits.gather(1, wanted)
            sums = logits.exp_().sum(1, keepdim=True)
            total += (sums.log() - at_target).sum(dtype=torch.float64)
            if needed:
                logits /= sums
                logits.scatter_add_(1, wanted, logits.new_full((1, 1), -1.0).expand(len(part), 1))
                torch.mm(logits, weight, out=of_x[first : first + rows])
                of_weight.addmm_(logits.t(), part)
                of_bias += logits.sum(0)
        ctx.count = len(x)
        if needed:
            ctx.save_for_backward(of_x, of_weight, of_bias)
        return (total / len(x)).to(x.dtype)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, given: torch.Tensor) -> Any:
        scale = given / ctx.count
        return *(gradient * scale for gradient in ctx.saved_tensors), None, None


def mean_loss(body: LanguageModel, dropped: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy, in nats, of the logits that ``body.decode`` makes of ``dropped: (T, B, H)``; ``targets``: (T,
    B).
    """
    projected = body.projection(dropped).flatten(0, 1)
    return cast(
        torch.Tensor,
        _Loss.apply(  # type: ignore[no-untyped-call]
            projected, body.embedding.weight, body.bias, targets.flatten(), torch.is_grad_enabled()
        ),
    )
