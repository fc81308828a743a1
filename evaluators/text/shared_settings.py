"""Settings of a recurrent supernet that is trained on text one architecture at a time. Free of torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .settings import SequenceSettings


class SharedTextSettings(SequenceSettings):
    """The defaults are NAO's search on Penn Treebank with weight sharing (``NAO-WS/rnn/train_search.sh`` and
    ``train_search.py``).

    The *evaluation* hyper-parameters with which Yu et al. (ICLR 2020, section 5) study shared weights are those of
    :class:`LanguageModelSettings`: learning rate 20, gradient norm 0.25, 64 sequences, and averaging by ``nonmono: 5``.
    """

    epochs: int = Field(1000, ge=1, description="of a run; a cycle of a search says its own")
    batch_size: int = Field(256, ge=2, description="sequences that are read side by side")
    learning_rate: float = Field(
        0.25, gt=0, description="of a piece of bptt words; that of a shorter or longer one is in proportion"
    )
    final_learning_rate: float = Field(0.0, ge=0, description="where the cosine of schedule: cosine ends")
    schedule: Literal["constant", "cosine", "decay"] = Field(
        "constant", description="of the learning rate, by epoch; constant in NAO's code, decay in ENAS'"
    )
    decay: float = Field(0.95, gt=0, le=1, description="with schedule: decay, factor of the learning rate an epoch")
    decay_after: int = Field(12, ge=0, description="with schedule: decay, so many epochs before that are constant")
    gradient_clip: float | None = Field(
        10.0, gt=0, description="largest norm of the gradients of the weights that the step uses together"
    )
    weight_decay: float = Field(5e-7, ge=0)
    length_deviation: float = Field(0.0, ge=0, description="standard deviation of the pieces' lengths, in words")
    dropoute: float = Field(0.0, ge=0, lt=1, description="of whole words of the vocabulary")
    averaged_epochs: int = Field(
        0,
        ge=0,
        description="a cycle ends with the mean of the weights after every step of its last N epochs; 0: no mean",
    )
    nonmono: int | None = Field(
        None,
        ge=0,
        description="averaging begins, if not before, when the validation loss is above its minimum over all but the last N epochs of the "
        "cycle, each piece read by an architecture drawn as in training; null: never",
    )
    evaluation_batch: int = Field(
        64, ge=1, description="sequences of the validation text; its last words, too few for a step, are left out"
    )
    evaluation_tokens: int | None = Field(
        None, ge=3, description="score on the first N words of the validation text; null: on all of it"
    )
    reward_batch: int = Field(
        64, ge=1, description="sequences of the validation text in a reward, which is one piece of bptt words of each"
    )
