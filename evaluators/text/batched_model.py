"""Many recurrent cells as one computation: forward, loss and gradient of A cells of one space, each with weights of its
own.

Letters: A cells, T steps, B sequences, E = embedding, H = hidden, V = words, n nodes, P weights of one cell. All cells
read the same tokens and have the same masks of dropout, as cells that are trained with one seed do. The model is that
of :mod:`nni_plugins.spaces.recurrent.network`.

The gradient is written out instead of left to autograd, for three reasons: a matrix's gradient is one product over all
steps rather than a sum of T small ones; the loss's gradient replaces the probabilities of a few rows at a time, so that
logits (T B, V) never exist as a whole; and a step costs 60 calls rather than 60 A.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.spaces.recurrent.codec import OPERATIONS
from nni_plugins.spaces.recurrent.network import ACTIVATIONS, Dropouts

Views = Mapping[str, torch.Tensor]
"""Weights or gradients by the names of a :class:`RecurrentNetwork`'s parameters, each with a leading A."""

BUFFER, FEWEST = 2**18, 128
"""Numbers of the piece of logits that exists at a time, 1 MB of float32, so that a core's cache holds it; but at least
so many rows.
"""

_BACKWARD: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "tanh": torch.ops.aten.tanh_backward,
    "relu": lambda gradient, value: gradient * (value > 0),
    "sigmoid": torch.ops.aten.sigmoid_backward,
    "identity": lambda gradient, value: gradient,
}
"""(gradient of f, f) -> gradient of its argument: of all four activations it is a function of their value."""

_TANH: list[tuple[str, slice | torch.Tensor]] = [("tanh", slice(None))]


@dataclass(frozen=True)
class DropoutMasks:
    """One piece's dropout, scaled; None where there is none. ``words``: (V, 1), ``inputs``: (B, E), ``states`` and
    ``outputs``: (B, H).
    """

    words: torch.Tensor | None = None
    inputs: torch.Tensor | None = None
    states: torch.Tensor | None = None
    outputs: torch.Tensor | None = None


def draw_masks(space: RecurrentCell, rates: Dropouts, batch: int, like: torch.Tensor) -> DropoutMasks:
    """From torch's generator in the order of :meth:`nni_plugins.spaces.recurrent.network.LanguageModel.hidden_states`,
    so that numbers agree with it.
    """

    def mask(rate: float, *shape: int) -> torch.Tensor | None:
        return like.new_empty(shape).bernoulli_(1 - rate).div_(1 - rate) if rate else None

    words = mask(rates.dropoute, space.classes, 1)
    embedded, entering = mask(rates.dropouti, batch, space.embedding), mask(rates.dropoutx, batch, space.embedding)
    inputs = entering if embedded is None else embedded if entering is None else embedded * entering
    return DropoutMasks(
        words, inputs, mask(rates.dropouth, batch, space.hidden), mask(rates.dropout, batch, space.hidden)
    )


@dataclass(frozen=True)
class Trace:
    """What the way back needs. ``hidden``: (A, T + 1, B, H), the state before the piece and the outputs; ``x``: (A, T
    B, E) after dropout; of state 0 and each node ``read``: (A, T, B, H), the state it reads, and ``gated``: (A, T, B, 2
    H), its gate and its value.
    """

    hidden: torch.Tensor
    x: torch.Tensor
    factor: torch.Tensor | None
    read: list[torch.Tensor]
    gated: list[torch.Tensor]


class Words:
    """What :class:`TextTraining` asks an ``embedding`` for."""

    def __init__(self, num_embeddings: int) -> None:
        self.num_embeddings = num_embeddings


class _Node:
    """Node j of all cells: which models apply which operation, and which rows of the states (n + 1) A they read."""

    def __init__(self, operations: Sequence[str], sources: Sequence[int], like: torch.Tensor) -> None:
        count = len(operations)
        self.groups: list[tuple[str, slice | torch.Tensor]] = []
        for operation in OPERATIONS:
            rows = [a for a, name in enumerate(operations) if name == operation]
            if rows:
                self.groups.append((operation, _slice(rows) or torch.tensor(rows, device=like.device)))
        self.common = sources[0] if len(set(sources)) == 1 else None
        self.rows = torch.tensor([source * count + a for a, source in enumerate(sources)], device=like.device)

    def read(self, states: torch.Tensor) -> torch.Tensor:
        """(A, B, H) of the states (n + 1, A, B, H)."""
        return states[self.common] if self.common is not None else states.flatten(0, 1).index_select(0, self.rows)

    def add(self, states: torch.Tensor, gradient: torch.Tensor) -> None:
        """The transpose of :meth:`read`, in place."""
        if self.common is not None:
            states[self.common] += gradient
        else:
            states.flatten(0, 1).index_add_(0, self.rows, gradient)


def _slice(rows: Sequence[int]) -> slice | None:
    """Rows with an even distance as a slice, which is read without a copy."""
    step = rows[1] - rows[0] if len(rows) > 1 else 1
    return slice(rows[0], rows[-1] + 1, step) if list(rows) == list(range(rows[0], rows[-1] + 1, step)) else None


class BatchedCells(nn.Module):
    """The weights of A cells as one parameter ``weights`` (A, P), a row each, and what is computed with them."""

    def __init__(
        self, space: RecurrentCell, architectures: Sequence[Architecture], initial: Mapping[str, torch.Tensor]
    ) -> None:
        """``initial``: the weights that each of the cells begins with, by the names of a :class:`RecurrentNetwork`'s
        parameters.
        """
        super().__init__()
        self.space, self.architectures = space, tuple(architectures)
        self.cells = [space.cell(architecture) for architecture in architectures]
        self.embedding = Words(space.classes)
        self.shapes = {name: tuple(value.shape) for name, value in initial.items()}
        row = torch.cat([value.detach().flatten() for value in initial.values()])
        self.weights = nn.Parameter(row.repeat(len(self.cells), 1))

    def views(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """``rows: (A, P)`` by name, without a copy."""
        parts = torch.split(rows, [math.prod(shape) for shape in self.shapes.values()], 1)
        return {name: part.view(-1, *shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def tables(self, like: torch.Tensor) -> list[_Node]:
        """Of each node, on the device of ``like``."""
        return [
            _Node([cell[j][0] for cell in self.cells], [cell[j][1] for cell in self.cells], like)
            for j in range(self.space.nodes)
        ]

    def hidden_of(self, tokens: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        """Outputs of the cells (A, T, B, H) without dropout; ``state``: (A, B, H), zeros where it is None."""
        weights = self.weights.detach()
        return self.trace(self.views(weights), self.tables(weights), tokens, state, DropoutMasks()).hidden[:, 1:]

    # -- forward -------------------------------------------------------------------------------------------------------
    def trace(
        self,
        weights: Views,
        nodes: Sequence[_Node],
        tokens: torch.Tensor,
        state: torch.Tensor | None,
        masks: DropoutMasks,
    ) -> Trace:
        """Read a piece: tokens (T, B), the states before it (A, B, H) or None for zeros."""
        (steps, batch), width, count = tokens.shape, self.space.hidden, len(self.cells)
        w0, w = weights["w0"], weights["nodes"]
        x = weights["embedding.weight"].index_select(1, tokens.flatten())
        factor = None if masks.words is None else masks.words[tokens]  # (T, B, 1)
        if masks.inputs is not None:
            factor = masks.inputs.expand(steps, -1, -1) if factor is None else factor * masks.inputs
        if factor is not None:
            factor = factor.flatten(0, 1)
            x *= factor
        of_words = torch.bmm(x, w0[:, :, : x.shape[2]].transpose(1, 2)).view(count, steps, batch, 2 * width)
        of_state = w0[:, :, x.shape[2] :].transpose(1, 2)
        matrices = [w[:, j].transpose(1, 2) for j in range(len(nodes))]
        hidden = x.new_empty(count, steps + 1, batch, width)
        hidden[:, 0] = 0 if state is None else state
        all_states = x.new_empty(len(nodes) + 1, count, steps, batch, width)
        read = [
            hidden[:, :-1],
            *(x.new_empty(count, steps, batch, width) if n.common is None else all_states[n.common] for n in nodes),
        ]
        gated = [
            of_words,
            *(torch.empty_like(of_words) for _ in nodes),
        ]  # the products with words are overwritten step by step
        for t in range(steps):
            h, pair = hidden[:, t], gated[0][:, t]
            pair += torch.bmm(h if masks.states is None else h * masks.states, of_state)
            gate, value = pair[..., :width].sigmoid_(), pair[..., width:].tanh_()
            states = all_states[:, :, t]
            torch.lerp(h, value, gate, out=states[0])
            for j, node in enumerate(nodes, start=1):
                s, (gate, value) = node.read(states), torch.split(gated[j][:, t], width, 2)
                product = torch.bmm(s if masks.states is None else s * masks.states, matrices[j - 1])
                if node.common is None:
                    read[j][:, t] = s
                torch.sigmoid(product[..., :width], out=gate)
                for operation, rows in node.groups:
                    value[rows] = ACTIVATIONS[operation](product[rows, :, width:])
                torch.lerp(s, value, gate, out=states[j])
            torch.mean(states[1:], 0, out=hidden[:, t + 1])
        return Trace(hidden, x, factor, read, gated)

    def decoder_inputs(self, weights: Views, dropped: torch.Tensor) -> torch.Tensor:
        """(A, T B, E) of what the output's dropout gave, (A, T B, H)."""
        projection = weights.get("projection.weight")
        return dropped if projection is None else torch.bmm(dropped, projection.transpose(1, 2))

    def losses(
        self,
        weights: Views,
        nodes: Sequence[_Node],
        batch: tuple[torch.Tensor, torch.Tensor],
        state: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Without dropout: sums over the words of a piece (A,) float64, in nats, and the states after it (A, B, H)."""
        tokens, targets = batch[0], batch[1].flatten()
        hidden = self.trace(weights, nodes, tokens, state, DropoutMasks()).hidden
        z = self.decoder_inputs(weights, hidden[:, 1:].flatten(1, 2))
        sums = [
            _decode(z[a], weights["embedding.weight"][a], weights["bias"][a], targets, None)
            for a in range(len(self.cells))
        ]
        return torch.stack(sums), hidden[:, -1]

    # -- gradient ------------------------------------------------------------------------------------------------------
    def gradient(
        self,
        weights: Views,
        nodes: Sequence[_Node],
        batch: tuple[torch.Tensor, torch.Tensor],
        state: torch.Tensor | None,
        masks: DropoutMasks,
        penalties: tuple[float, float],
        out: Views,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the gradient of each cell's mean loss a word plus its penalties (alpha, beta; see
        :class:`SequenceSettings`) to ``out``.

        Returns the sums of the losses without penalties (A,) float64 and the states after the piece (A, B, H).
        """
        tokens, targets = batch[0], batch[1].flatten()
        trace = self.trace(weights, nodes, tokens, state, masks)
        outputs = trace.hidden[:, 1:]
        dropped = (outputs if masks.outputs is None else outputs * masks.outputs).flatten(1, 2)
        z = self.decoder_inputs(weights, dropped)
        back, sums = torch.empty_like(z), []
        for a in range(len(self.cells)):
            found = (out["embedding.weight"][a], out["bias"][a], back[a])
            sums.append(_decode(z[a], weights["embedding.weight"][a], weights["bias"][a], targets, found))
        if "projection.weight" in weights:
            out["projection.weight"].copy_(torch.bmm(back.transpose(1, 2), dropped))
            back = torch.bmm(back, weights["projection.weight"])
        alpha, beta = penalties
        if alpha:
            back.add_(dropped, alpha=2 * alpha / dropped[0].numel())
        back = back.view_as(outputs)
        if masks.outputs is not None:
            back *= masks.outputs
        if beta:
            change = outputs.diff(dim=1)
            change *= 2 * beta / change[0].numel()
            back[:, 1:] += change
            back[:, :-1] -= change
        state = outputs[:, -1].clone()
        self._backward(weights, nodes, trace, back, masks.states, out)
        gradient = torch.bmm(trace.gated[0].flatten(1, 2), weights["w0"][:, :, : trace.x.shape[2]])
        if trace.factor is not None:
            gradient *= trace.factor
        out["embedding.weight"].index_add_(1, tokens.flatten(), gradient)
        return torch.stack(sums), state

    def _backward(
        self,
        weights: Views,
        nodes: Sequence[_Node],
        trace: Trace,
        back: torch.Tensor,
        mask: torch.Tensor | None,
        out: Views,
    ) -> None:
        """From the outputs (A, T, B, H) to the matrices; ``trace.gated`` becomes the gradient of what is gated."""
        count, steps, batch, width = back.shape
        w0, w, size = weights["w0"], weights["nodes"], trace.x.shape[2]
        matrices = [w0[:, :, size:], *(w[:, j] for j in range(len(nodes)))]
        carried, states = back.new_zeros(count, batch, width), back.new_empty(len(nodes) + 1, count, batch, width)
        for t in reversed(range(steps)):
            carried += back[:, t]
            states[1:] = carried.div_(len(nodes))
            states[0] = 0
            for j in reversed(range(len(nodes) + 1)):
                d, s, pair = states[j], trace.read[j][:, t], trace.gated[j][:, t]
                gate, value = pair[..., :width], pair[..., width:]
                of_value = d * gate
                of_gate = (value - s).mul_(d)
                d = d - of_value  # what is left of the state that was read
                for operation, rows in nodes[j - 1].groups if j else _TANH:
                    value[rows] = _BACKWARD[operation](of_value[rows], value[rows])
                gate.copy_(torch.ops.aten.sigmoid_backward(of_gate, gate))
                product = torch.bmm(pair, matrices[j])
                d = d.add_(product) if mask is None else d.addcmul_(product, mask)
                if j:
                    nodes[j - 1].add(states, d)
                else:
                    carried = d
        for j, (read, gated) in enumerate(zip(trace.read, trace.gated, strict=True)):
            found = gated.flatten(1, 2).transpose(1, 2)
            product = torch.bmm(found, (read if mask is None else read * mask).flatten(1, 2))
            if j:
                out["nodes"][:, j - 1] = product
            else:
                out["w0"][:, :, :size] = torch.bmm(found, trace.x)
                out["w0"][:, :, size:] = product


def _decode(
    z: torch.Tensor,
    embedding: torch.Tensor,
    bias: torch.Tensor,
    targets: torch.Tensor,
    out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None,
) -> torch.Tensor:
    """Cross entropy of one cell: ``z: (N, E)``, ``targets: (N,)``; the sum in nats, float64.

    ``out``: receives the gradient of the mean: of ``embedding`` (V, E) as decoder, ``bias`` (V,) and ``z``.
    """
    count, rows = len(z), max(FEWEST, BUFFER // len(bias))
    total = torch.zeros((), dtype=torch.float64, device=z.device)
    for first in range(0, count, rows):
        part, y = z[first : first + rows], targets[first : first + rows, None]
        logits = torch.addmm(bias, part, embedding.t())
        probabilities = torch.softmax(logits, 1)
        # log of the sum of exponentials: the largest logit has the largest probability, whose logarithm cannot
        # overflow.
        normaliser = logits.amax(1, keepdim=True) - probabilities.amax(1, keepdim=True).log()
        total += (normaliser - logits.gather(1, y)).sum().double()
        if out is None:
            continue
        probabilities.scatter_add_(1, y, probabilities.new_full((1, 1), -1.0).expand_as(y))
        of_embedding, of_bias, of_z = out
        kept = 0 if first == 0 else 1
        torch.addmm(of_embedding, probabilities.t(), part, beta=kept, alpha=1 / count, out=of_embedding)
        sums = probabilities.sum(0).div_(count)
        of_bias.copy_(sums) if first == 0 else of_bias.add_(sums)
        torch.addmm(part, probabilities, embedding, beta=0, alpha=1 / count, out=of_z[first : first + rows])
    return total
