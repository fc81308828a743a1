"""REINFORCE: how ENAS' controller learns between the epochs of the supernet whose architectures it chooses (section 2.2
of the paper).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nni_plugins.evaluators.errors import TrainingError
from nni_plugins.evaluators.randomness import torch_seed
from nni_plugins.evaluators.supernets.shared_weights import SharedWeights
from nni_plugins.spaces.base import Indices

from ..limits import Limits
from .controller import build
from .settings import PolicySettings

Values = npt.NDArray[np.float64]


def rewards_of(scores: Values, settings: PolicySettings) -> Values:
    """Scores (n,) of :class:`SharedWeights` as rewards: ``scale * percent / 100``, or ``scale / perplexity``.

    Raises:
        TrainingError: a score that is not finite, or one of the other kind.
    """
    if not np.isfinite(scores).all():
        raise TrainingError(
            f"the controller needs finite rewards, but a score is {float(scores[~np.isfinite(scores)][0])}.",
            "The supernet's weights have diverged: lower the learning rate, or set gradient_clip.",
        )
    accuracy = settings.reward == "accuracy"
    if (scores < 0).any() if accuracy else (scores >= 0).any():
        raise TrainingError(
            f"reward: {settings.reward} needs {'accuracies in percent' if accuracy else 'perplexities with a minus'}, but a score is {scores[0]:g}.",
            "Images need reward: accuracy, text reward: inverse_perplexity.",
        )
    rewards: Values = settings.reward_scale * scores / 100 if accuracy else settings.reward_scale / -scores
    return rewards


def advantages(rewards: Values, baseline: float | None, decay: float) -> tuple[Values, float]:
    """Rewards (n,) minus the moving average that each of them has just joined, and that average after all of them.

    b_i = decay b_{i-1} + (1 - decay) r_i and A_i = r_i - b_i = decay (r_i - b_{i-1}), as in the code, which begins with
    b_0 = 0. Here the mean of the first update's rewards is b_0 (``baseline`` None), so that the first architectures are
    not all made more probable.
    """
    average = float(rewards.mean()) if baseline is None else baseline
    found: Values = np.empty_like(rewards)
    for i, reward in enumerate(rewards):
        average = decay * average + (1 - decay) * float(reward)
        found[i] = reward - average
    return found, average


class ControllerTraining:
    """The controller beside its supernet (:class:`nni_plugins.evaluators.supernets.shared_weights.Companion`), and the
    draw of what the supernet trains.

    All draws are functions of the seed, the epoch and the policy as it is, so a search that is resumed repeats them.

    Args:
        limits: what every sampled architecture meets, those that the supernet trains and those that give rewards.
    """

    def __init__(
        self,
        shared: SharedWeights,
        settings: PolicySettings,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.shared, self.settings, self.limits = shared, settings, limits
        self.policy = build(shared.space, settings, shared.seed)
        betas = (settings.beta1, 0.999)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), settings.learning_rate, betas, settings.epsilon)
        self.baseline: float | None = None

    def _generator(self, purpose: str, *step: int) -> torch.Generator:
        return torch.Generator().manual_seed(torch_seed(self.shared.seed, purpose, *step))

    def draw(self, epoch: int, steps: int) -> Indices:
        """(steps, D): what the mini-batches of ``epoch`` train, sampled from the policy."""
        each = self.settings.batches_per_architecture
        generator = self._generator("enas paths", epoch)
        rows = self.policy.sample_within(-(-steps // each), generator, self.limits).numpy()
        return np.repeat(rows, each, axis=0)[:steps].astype(np.int8)

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """Train the controller; the means over its updates of ``reward`` (without entropy) and ``entropy`` (nats), and
        its ``baseline``.

        Raises:
            TrainingError: a reward or a parameter of the controller is not finite.
        """
        s = self.settings
        if epoch < s.warmup_epochs:
            return {}
        rewards, entropies = zip(*(self._update(epoch, step) for step in range(s.controller_steps)), strict=True)
        if not all(bool(torch.isfinite(p).all()) for p in self.policy.parameters()):
            raise TrainingError(
                f"the controller's parameters became infinite or NaN in epoch {epoch + 1}.",
                f"Lower the controller's learning rate (it is {s.learning_rate:g}) or set its gradient_clip.",
            )
        assert self.baseline is not None
        return {"reward": float(np.mean(rewards)), "entropy": float(np.mean(entropies)), "baseline": self.baseline}

    def _update(self, epoch: int, step: int) -> tuple[float, float]:
        s = self.settings
        # Within limits samples have p / Z; the gradient of log Z, the same for all, is worth nothing beside a baseline.
        rows = self.policy.sample_within(s.samples, self._generator("enas rewards", epoch, step), self.limits)
        distinct, back = np.unique(rows.numpy().astype(np.int8), axis=0, return_inverse=True)
        scores = self.shared.reward(distinct, epoch * s.controller_steps + step)
        rewards = rewards_of(scores, s)[back.reshape(-1)]
        drawn = self.policy.evaluate(rows)
        # E[log p grad log p] = -grad entropy, so the surprise -log p is what an architecture adds to the entropy
        joint = rewards - s.entropy_weight * drawn.log_prob.detach().double().numpy()
        found, self.baseline = advantages(joint, self.baseline, s.baseline_decay)
        loss = -(torch.from_numpy(found).float() * drawn.log_prob).mean()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if s.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), s.gradient_clip)
        self.optimizer.step()
        return float(rewards.mean()), float(drawn.entropy.detach().mean())

    # -- state ---------------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Parameters, Adam's moments by the parameters' names, and the baseline in a list that is empty before the
        first update.
        """
        moments = {
            name: {key: value.clone() for key, value in sorted(self.optimizer.state[p].items())}
            for name, p in sorted(self.policy.named_parameters())
            if p in self.optimizer.state
        }
        parameters = {name: value.clone() for name, value in sorted(self.policy.state_dict().items())}
        return {"policy": parameters, "adam": moments, "baseline": [] if self.baseline is None else [self.baseline]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Of :meth:`state_dict`."""
        self.policy.load_state_dict(state["policy"])
        parameters = dict(self.policy.named_parameters())
        self.optimizer.state.clear()
        for name, moments in state["adam"].items():
            self.optimizer.state[parameters[name]] = {key: value.clone() for key, value in moments.items()}
        self.baseline = state["baseline"][0] if state["baseline"] else None
