"""All 32 two-node recurrent cells trained as one computation, against one by one. One process, one thread, real text.

    python benchmarks/recurrent.py FOLDER [--hidden 32 64 128] [--words 500 1000 2000] [--tokens 14000] [--single 4] [--chunk N]

FOLDER holds a training, a validation and a test text, or (``wikitext2_valid_test``) the last two, of which the first is
then trained on. Each training is one epoch, evaluations included. Of the cells that are trained one by one there are
``--single``, evenly chosen. Times are of the process, the smaller of two runs; perplexities of both ways must agree.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from nni_plugins.evaluators.text import LanguageModelSettings, StandAloneText, TextSettings, read_corpus
from nni_plugins.evaluators.text.batched import train_cells
from nni_plugins.spaces import Architecture
from nni_plugins.spaces.recurrent import RecurrentCell

T = TypeVar("T")


def timed(function: Callable[[], T], runs: int = 2) -> tuple[float, T]:
    """(seconds of the process for one call, its result)."""
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        result = function()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def alone_in_turn(evaluator: StandAloneText, cells: list[Architecture]) -> list[float]:
    """Validation perplexities."""
    return [evaluator.train(cell).valid for cell in cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hidden", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--words", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--tokens", type=int, default=14_000)
    parser.add_argument("--single", type=int, default=4)
    parser.add_argument("--chunk", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    two_files = not any("train" in file.name for file in arguments.folder.glob("*.txt"))
    files = {"train_file": "valid.txt", "hold_out": 0.1} if two_files else {}
    settings = LanguageModelSettings(
        epochs=1, batch_size=20, learning_rate=10, evaluation_batch=20, test_batch=20, accelerator="cpu"
    )
    for hidden, words in zip(arguments.hidden, arguments.words, strict=True):
        text = TextSettings(
            path=str(arguments.folder),
            tokens="words" if two_files else "split",
            unknown="map",
            max_words=words,
            limit_tokens=arguments.tokens,
            limit_evaluation_tokens=arguments.tokens // 5,
            **files,
        )
        corpus = read_corpus(text)
        space = RecurrentCell(nodes=2, hidden=hidden, classes=len(corpus.words))
        cells = space.decode(space.enumerate())
        some = cells[:: max(1, len(cells) // arguments.single)][: arguments.single]
        one_by_one, alone = timed(partial(alone_in_turn, StandAloneText(corpus, settings, space=space), some))
        together, batched = timed(partial(train_cells, corpus, cells, space, settings, chunk=arguments.chunk))
        rows = [cells.index(cell) for cell in some]
        assert np.allclose(batched.valid[rows, 0], alone, rtol=1e-3), "both train the same networks"
        batched_rate, single_rate = (
            count * len(corpus.train) / s for count, s in ((len(cells), together), (len(some), one_by_one))
        )
        print(
            f"hidden {hidden}, {len(corpus.words)} words: {batched_rate:,.0f} words a second together, {single_rate:,.0f} one by one: "
            f"{batched_rate / single_rate:.1f} times",
            flush=True,
        )


if __name__ == "__main__":
    main()
