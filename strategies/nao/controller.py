"""NAO's encoder, predictor and decoder. Facts: "Neural Architecture Optimization", section 3; NAO-V2's sizes.

Shapes: n architectures, D tokens of each (L in ``tokens.py``), S = D / group steps of the encoder, H hidden, V
vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .settings import ControllerSettings
from .tokens import START, Tokens


@dataclass(frozen=True)
class Encoded:
    """``outputs: (n, S, H)`` of length 1 each, ``embedding: (n, H)``, their mean scaled to length 1, ``value: (n,)`` in
    0 to 1.
    """

    outputs: Tensor
    embedding: Tensor
    value: Tensor


class Controller(nn.Module):
    """Encoder, predictor and decoder for the vocabulary ``tokens``; 80,845 parameters for NAO's space with V2's
    settings.
    """

    allowed: Tensor

    def __init__(self, tokens: Tokens, settings: ControllerSettings) -> None:
        super().__init__()
        self.tokens, self.settings = tokens, settings
        hidden = settings.hidden
        self.encoder_embedding = nn.Embedding(tokens.vocabulary, settings.embedding)
        self.encoder = nn.LSTM(tokens.group * settings.embedding, hidden, batch_first=True)
        sizes = (hidden, *settings.predictor)
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.predictor = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))
        self.decoder_embedding = nn.Embedding(tokens.vocabulary, hidden)
        self.decoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.combine = nn.Linear(2 * hidden, hidden, bias=False)
        self.output = nn.Linear(hidden, tokens.vocabulary)
        self.register_buffer("allowed", torch.from_numpy(tokens.mask), persistent=False)

    # -- encoder and predictor -----------------------------------------------------------------------------------------
    def predict(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder outputs (n, S, H) -> embedding (n, H) and value (n,)."""
        embedding = F.normalize(outputs.mean(dim=1), dim=-1)
        return embedding, self.predictor(embedding).squeeze(-1).sigmoid()

    def encode(self, tokens: Tensor) -> Encoded:
        """Tokens (n, D) int64."""
        embedded = self.encoder_embedding(tokens)
        outputs, _ = self.encoder(embedded.reshape(len(tokens), -1, embedded.shape[-1] * self.tokens.group))
        outputs = F.normalize(outputs, dim=-1)
        return Encoded(outputs, *self.predict(outputs))

    # -- decoder -------------------------------------------------------------------------------------------------------
    def _logits(self, hidden: Tensor, outputs: Tensor) -> Tensor:
        """Decoder states (n, T, H) with attention over ``outputs: (n, S, H)`` -> (n, T, V)."""
        weights = torch.softmax(self.query(hidden) @ outputs.transpose(1, 2), dim=-1)
        return self.output(torch.tanh(self.combine(torch.cat([weights @ outputs, hidden], dim=-1))))  # type: ignore[no-any-return]

    def decode(self, outputs: Tensor, embedding: Tensor, tokens: Tensor) -> Tensor:
        """Teacher forcing: logits (n, D, V) of each token after those before it in ``tokens: (n, D)``.

        What the attention yields is not fed back, so all positions are one call of the LSTM and one attention.
        """
        before = torch.cat([tokens.new_full((len(tokens), 1), START), tokens[:, :-1]], dim=1)
        state = embedding.unsqueeze(0).contiguous()
        hidden, _ = self.decoder(self.decoder_embedding(before), (state, state))
        return self._logits(hidden, outputs)

    def decode_stepwise(
        self, outputs: Tensor, embedding: Tensor, tokens: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One token after another: (logits (n, D, V), tokens (n, D)).

        With ``tokens: (n, D)`` teacher forcing; without, greedy: the likeliest token that may stand at its place, so
        that whatever the embedding is, every token is allowed.
        """
        token = torch.full((len(outputs), 1), START, dtype=torch.int64, device=outputs.device)
        state = (embedding.unsqueeze(0).contiguous(), embedding.unsqueeze(0).contiguous())
        logits, chosen = [], []
        for position in range(self.tokens.sequence):
            hidden, state = self.decoder(self.decoder_embedding(token), state)
            logits.append(self._logits(hidden, outputs))
            if tokens is None:
                scores = torch.nan_to_num(logits[-1]).masked_fill(~self.allowed[position], -torch.inf)
                token = scores.argmax(dim=-1)
            else:
                token = tokens[:, position : position + 1]
            chosen.append(token)
        return torch.cat(logits, dim=1), torch.cat(chosen, dim=1)

    # -- training and moving -------------------------------------------------------------------------------------------
    def loss(self, tokens: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``trade_off`` x mean squared error of the predictor + the rest x mean negative log-likelihood of a token;
        then the two alone.

        ``tokens: (n, D)``, ``targets: (n,)`` in 0 to 1.
        """
        encoded = self.encode(tokens)
        error = F.mse_loss(encoded.value, targets)
        likelihood = F.cross_entropy(
            self.decode(encoded.outputs, encoded.embedding, tokens).flatten(0, 1), tokens.flatten()
        )
        return self.settings.trade_off * error + (1 - self.settings.trade_off) * likelihood, error, likelihood

    def gradient(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder outputs (n, S, H) of ``tokens: (n, D)``, and the gradient of the predicted value with respect to
        them.
        """
        outputs = self.encode(tokens).outputs.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.predict(outputs)[1].sum(), outputs)
        return outputs.detach(), gradient

    @torch.no_grad()
    def moved(self, outputs: Tensor, gradient: Tensor, size: float) -> Tensor:
        """Tokens (n, D) after one step of ``size`` (NAO's lambda) uphill: each output is moved and scaled to length 1,
        then decoded.
        """
        outputs = F.normalize(outputs + size * gradient, dim=-1)
        return self.decode_stepwise(outputs, self.predict(outputs)[0])[1]
