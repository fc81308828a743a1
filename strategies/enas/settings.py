"""Settings of ENAS. Free of torch.

Facts: Pham et al., "Efficient neural architecture search via parameter sharing", ICML 2018, and its authors' TensorFlow
code (``scripts/cifar10_micro_search.sh``, ``scripts/ptb_search.sh``, ``src/``). Where they differ the code's value is
the default.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.training.settings import Beta, SupernetSettings
from nni_plugins.spaces.base import SearchSpace

from ..random.settings import RandomNASSettings, check_candidates


class PolicySettings(Settings):
    """The controller: an LSTM whose samples are architectures, and how REINFORCE trains it between the epochs of the
    supernet.
    """

    hidden: int = Field(64, ge=1, description="size of the LSTM and of a value's vector; the paper: 100")
    layers: int = Field(1, ge=1, description="of the LSTM")
    temperature: float = Field(1.0, gt=0, description="logits are divided by it; the paper: 5, as the code for text")
    tanh_constant: float | None = Field(
        1.10, gt=0, description="c of c tanh(logits), which bounds the policy; null: no bound; the paper: 2.5"
    )
    op_tanh_reduce: float = Field(2.5, gt=0, description="c is divided by it where an operation is chosen")
    learning_rate: float = Field(3.5e-3, gt=0, description="of Adam; the paper: 0.00035")
    beta1: Beta = Field(0.0, description="of Adam; 0: no momentum, as in the code")
    epsilon: float = Field(1e-3, gt=0, description="of Adam")
    gradient_clip: float | None = Field(None, gt=0, description="largest norm of the controller's gradients together")
    entropy_weight: float = Field(
        1e-4, ge=0, description="of the policy's entropy beside the expected reward; the paper: 0.1 on CIFAR-10"
    )
    baseline_decay: float = Field(0.99, ge=0, lt=1, description="of the moving average of rewards")
    controller_steps: int = Field(30, ge=1, description="updates of the controller after each epoch of the supernet")
    samples: int = Field(
        10, ge=1, description="architectures whose gradients an update averages, all on the same held-out mini-batch"
    )
    warmup_epochs: int = Field(0, ge=0, description="the controller is not trained after the first N epochs")
    batches_per_architecture: int = Field(
        1, ge=1, description="successive mini-batches that train the same sampled architecture"
    )
    reward: Literal["accuracy", "inverse_perplexity"] = Field(
        "accuracy",
        description="accuracy: reward_scale times a share of 1; inverse_perplexity: reward_scale / perplexity",
    )
    reward_scale: float = Field(1.0, gt=0)
    candidates: int = Field(
        100, ge=1, description="distinct architectures drawn from the final policy and evaluated; the code prints 10"
    )
    restart_epochs: int | None = Field(
        10,
        ge=1,
        description="the learning rate of the weights restarts after so many epochs; null: one cosine for the whole training",
    )
    restart_factor: int = Field(2, ge=1, description="each cosine is so many times as long as the one before")


class ENASSettings(PolicySettings, RandomNASSettings):
    """ENAS' micro search on CIFAR-10, and which images train the weights and which the controller."""

    candidates: int = Field(
        100, ge=1, description="distinct architectures drawn from the final policy and evaluated; the code prints 10"
    )
    portion: float = Field(
        0.9,
        gt=0,
        lt=1,
        description="share of the images that train the weights; the rest gives rewards and ranks the candidates",
    )


class RecurrentENASSettings(PolicySettings):
    """ENAS on Penn Treebank: rewards are 80 / perplexity."""

    hidden: int = Field(100, ge=1, description="size of the LSTM and of a value's vector")
    temperature: float = Field(5.0, gt=0, description="logits are divided by it")
    tanh_constant: float | None = Field(
        2.5, gt=0, description="c of c tanh(logits), which bounds the policy; null: no bound"
    )
    op_tanh_reduce: float = Field(1.0, gt=0, description="c is divided by it where an operation is chosen")
    learning_rate: float = Field(1e-3, gt=0, description="of Adam")
    entropy_weight: float = Field(1e-3, ge=0, description="of the policy's entropy beside the expected reward")
    controller_steps: int = Field(100, ge=1, description="updates of the controller after each epoch of the supernet")
    reward: Literal["accuracy", "inverse_perplexity"] = Field(
        "inverse_perplexity", description="reward_scale / perplexity"
    )
    reward_scale: float = Field(80.0, gt=0)
    restart_epochs: int | None = Field(
        None, ge=1, description="the learning rate restarts after so many epochs; null: it does not"
    )


class ENASTraining(SupernetSettings):
    """The supernet in ENAS' micro search on CIFAR-10.

    The code adds 1e-4 times the squared weights to the loss, which is a decay of 2e-4. It means to clip gradients at 5,
    but goes on with the gradients that were not clipped (``src/utils.py``); here they are.
    """

    epochs: int = Field(150, ge=1)
    batch_size: int = Field(160, ge=2)
    learning_rate: float = Field(0.05, gt=0)
    final_learning_rate: float = Field(
        0.0005, ge=0, description="what the cosine of the learning rate, stepped by epoch, ends near"
    )
    weight_decay: float = Field(2e-4, ge=0)
    gradient_clip: float | None = Field(5.0, gt=0, description="largest norm of all gradients together")
    share_cells: Literal[True] = Field(
        True, description="one architecture for all cells of a step, as the controller samples it"
    )


def check_search(space: SearchSpace, settings: PolicySettings, epochs: int, found: int, key: str) -> None:
    """What can be known before anything is trained.

    Raises:
        ConfigError: ``key`` asks for more results than candidates, rewards of the wrong kind, or no epoch that trains
            the controller.
    """
    check_candidates(settings.candidates, found, key)
    reward = "accuracy" if space.takes_images else "inverse_perplexity"
    if settings.reward != reward:
        raise ConfigError(
            f"reward: {settings.reward} cannot be computed on {space.name}.",
            f"Set reward: {reward}, or begin with RecurrentENASSettings for text.",
        )
    if settings.warmup_epochs >= epochs:
        raise ConfigError(
            f"warmup_epochs < epochs must hold, or the controller is never trained, but got {settings.warmup_epochs} and {epochs}."
        )
