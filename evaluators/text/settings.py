"""Settings of texts and of language models. Free of torch, so that NNI's tuner process can read them.

Facts: Yu et al., "Evaluating the Search Phase of NAS", ICLR 2020, section 4 and its cited code, DARTS' ``rnn/train.py``
and ``rnn/train_search.py`` (Liu et al., ICLR 2019); regularisation after Merity et al.,
"Regularizing and Optimizing LSTM Language Models" (AWD-LSTM), ICLR 2018.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from ..settings import Settings
from ..training.settings import Beta


class TextSettings(Settings):
    """Where text comes from: three files of words, one sentence a line, as Penn Treebank is distributed.

    ``path`` is a folder, or a folder and the beginning of its files' names. The three files are those whose name
    contains ``train``, ``valid`` or ``test`` and ends with ``.txt``, unless they are named here, relative to the
    folder.
    """

    path: str
    train_file: str | None = None
    valid_file: str | None = None
    test_file: str | None = None
    hold_out: float | None = Field(
        None, gt=0, lt=1, description="this share of the training file's lines, its end, is the validation text"
    )
    tokens: Literal["words", "split"] = Field(
        "words",
        description="words: what stands between blanks; split: lower case, and punctuation marks are words of their own",
    )
    unknown: Literal["error", "map"] = Field(
        "error",
        description="of a word that the training text lacks, where that has no <unk>; map: <unk> joins the vocabulary",
    )
    max_words: int | None = Field(
        None, ge=3, description="largest vocabulary, with <eos> and <unk>; rarer words become <unk>"
    )
    limit_tokens: int | None = Field(
        None, ge=3, description="use only this many words from the beginning of the training text"
    )
    limit_evaluation_tokens: int | None = Field(None, ge=3, description="the same for the validation and the test text")

    @model_validator(mode="after")
    def _one_validation_text(self) -> Self:
        if self.hold_out is not None and self.valid_file is not None:
            raise ValueError("give hold_out or valid_file, for there is one validation text")
        return self


class SequenceSettings(Settings):
    """What stand-alone training and search have in common; rates of dropout as
    :class:`nni_plugins.spaces.recurrent.network.Dropouts` has them.
    """

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2, description="sequences that are read side by side")
    learning_rate: float = Field(
        20.0, gt=0, description="of a piece of bptt words; that of a shorter or longer one is in proportion"
    )
    gradient_clip: float | None = Field(0.25, gt=0, description="largest norm of the weights' gradients together")
    weight_decay: float = Field(ge=0)
    bptt: int = Field(35, ge=4, description="words that a gradient reaches back")
    short_share: float = Field(0.05, ge=0, le=1, description="so many pieces are half as long")
    length_deviation: float = Field(ge=0, description="standard deviation of the pieces' lengths, in words")
    shortest: int = Field(5, ge=2, description="words of a piece, whatever was drawn")
    longest_extra: int = Field(20, ge=0, description="a piece has at most bptt and so many words")
    dropout: float = Field(0.75, ge=0, lt=1, description="of the output")
    dropouth: float = Field(0.25, ge=0, lt=1, description="of states that the cell's matrices read")
    dropoutx: float = Field(0.75, ge=0, lt=1, description="of words where they enter the cell")
    dropouti: float = Field(0.2, ge=0, lt=1, description="of embedded words")
    dropoute: float = Field(ge=0, lt=1, description="of whole words of the vocabulary")
    alpha: float = Field(
        0.0, ge=0, description="weight of the mean square of the output after dropout (activation regularisation)"
    )
    beta: float = Field(
        1e-3, ge=0, description="weight of the mean square of the output's changes (temporal activation regularisation)"
    )
    precision: Literal["32-true", "64-true"] = "32-true"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_seconds: float = Field(60, ge=0, description="at most this much work is lost when the run is killed")

    @property
    def dropouts(self) -> dict[str, float]:
        """As :meth:`nni_plugins.spaces.recurrent.RecurrentCell.network` takes them."""
        return {
            name: float(getattr(self, name)) for name in ("dropout", "dropouth", "dropoutx", "dropouti", "dropoute")
        }


class LanguageModelSettings(SequenceSettings):
    """Stand-alone training on Penn Treebank: 1000 epochs (Yu et al.), the rest as DARTS' ``rnn/train.py``."""

    epochs: int = Field(1000, ge=1)
    batch_size: int = Field(64, ge=2, description="sequences that are read side by side")
    weight_decay: float = Field(8e-7, ge=0)
    length_deviation: float = Field(5.0, ge=0, description="standard deviation of the pieces' lengths, in words")
    dropoute: float = Field(0.1, ge=0, lt=1, description="of whole words of the vocabulary")
    nonmono: int | None = Field(
        5,
        ge=0,
        description="averaging begins when the validation loss is above its minimum over all but the last N epochs; null: never",
    )
    evaluation_batch: int = Field(
        10, ge=1, description="sequences of the validation text; its last words, too few for a step, are left out"
    )
    test_batch: int = Field(1, ge=1, description="the same for the test text")


class LanguageSearchSettings(SequenceSettings):
    """Differentiable search: weights by SGD on the training text, architecture parameters by Adam on the validation
    text.

    The defaults are DARTS' search on Penn Treebank. Its README searches with ``order=2``; the code's own default is 1.
    """

    epochs: int = Field(50, ge=1)
    batch_size: int = Field(256, ge=2, description="sequences that are read side by side, of either text")
    weight_decay: float = Field(5e-7, ge=0)
    length_deviation: float = Field(0.0, ge=0, description="standard deviation of the pieces' lengths, in words")
    dropoute: float = Field(0.0, ge=0, lt=1, description="of whole words of the vocabulary")
    batch_norm: bool = Field(True, description="states of the mixed cell are normalised over the batch")
    architecture_learning_rate: float = Field(3e-3, gt=0, description="of Adam, the same in all epochs")
    architecture_betas: tuple[Beta, Beta] = (0.9, 0.999)
    architecture_weight_decay: float = Field(1e-3, ge=0)
    order: Literal[1, 2] = Field(1, description="2: the architecture gradient is taken through one step of the weights")
    warmup_epochs: int = Field(0, ge=0, description="the architecture parameters are not trained in the first N epochs")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs < epochs must hold, or the architecture is never trained, but got {self.warmup_epochs} and {self.epochs}"
            )
        return self
