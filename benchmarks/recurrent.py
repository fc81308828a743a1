"""All 32 two-node recurrent cells trained as one computation, against one by one. One process, one thread, real text.

    python benchmarks/recurrent.py FOLDER [--hidden 32 64 128] [--words 500 1000 2000] [--tokens 14000] [--single 4] [--chunk N]

FOLDER holds a training, a validation and a test text, or (``wikitext2_valid_test``) the last two, of which the first is
then trained on. Each training is one epoch, evaluations included. Of the cells that are trained one by one there are
``--single``, evenly chosen. Times are of the process, the smaller of two runs; perplexities of both ways must agree.
The bound is the time of the updates' matrix products alone.
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


def products(space: RecurrentCell, cells: int, batch: int, steps: int, pieces: int) -> None:
    """The matrix products of ``pieces`` updates of ``cells`` cells and nothing else: forward and both gradients of the
    words' and states' halves of W_0, of each node, and of the decoder. No implementation is faster than this.
    """
    hidden, words, rows = space.hidden, space.classes, batch * steps
    x, pair = torch.randn(cells, rows, hidden), torch.randn(cells, rows, 2 * hidden)
    state, gates = torch.randn(cells, batch, hidden), torch.randn(cells, batch, 2 * hidden)
    matrix = torch.randn(cells, hidden, 2 * hidden)
    decoder, logits = torch.randn(hidden, words), torch.empty(rows, words)
    with torch.no_grad():
        for _ in range(pieces):
            torch.bmm(x, matrix)  # the words' half, which waits for no state
            torch.bmm(pair, matrix.transpose(1, 2))
            torch.bmm(x.transpose(1, 2), pair)
            for _ in range(1 + space.nodes):
                for _ in range(steps):
                    torch.bmm(state, matrix)
                    torch.bmm(gates, matrix.transpose(1, 2))
                torch.bmm(x.transpose(1, 2), pair)  # a matrix's gradient is one product over all steps
            for _ in range(cells):
                torch.mm(x[0], decoder, out=logits)
                torch.mm(logits, decoder.t())
                torch.mm(x[0].t(), logits)


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
        pieces = -(-len(corpus.train) // (settings.batch_size * settings.bptt))
        with_space = space.with_classes(len(corpus.words))
        bound, _ = timed(partial(products, with_space, len(cells), settings.batch_size, settings.bptt, pieces))
        batched_rate, single_rate, bound_rate = (
            count * len(corpus.train) / s
            for count, s in ((len(cells), together), (len(some), one_by_one), (len(cells), bound))
        )
        print(
            f"hidden {hidden}, {len(corpus.words)} words: {batched_rate:,.0f} words a second together, "
            f"{single_rate:,.0f} one by one: {batched_rate / single_rate:.1f} times; the products of the updates "
            f"alone would be {bound_rate / single_rate:.1f} times",
            flush=True,
        )


if __name__ == "__main__":
    main()
