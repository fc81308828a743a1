"""Diagnostics: closed forms of eta and lambda, networks, records that survive a kill, and figures that can be read
back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nni_plugins.evaluators import RandomLabels, Rotation, Supervised
from nni_plugins.evaluators.data import ImageData, load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.diagnostics import (
    NetworkSettings,
    ResidualNetwork,
    depth_errors,
    eta_curve,
    freeze,
    gradient_condition,
    input_gradient_variances,
    lambda_curve,
    normalised_convolutions,
    read_search,
    relative_variances,
    weight_variances,
)
from nni_plugins.evaluators.diagnostics.curves import EtaCurve
from nni_plugins.evaluators.diagnostics.figures import depth_figure, eta_figure, lambda_figure, option_figure
from nni_plugins.evaluators.diagnostics.recorded import Recorded, settle_on
from nni_plugins.evaluators.diagnostics.report import write_diagnosis
from nni_plugins.evaluators.diagnostics.search_figures import (
    eigenvalue_figure,
    entropy_figure,
    look,
    mixture_figure,
    skip_figure,
)
from nni_plugins.evaluators.diagnostics.search_record import Rollback
from nni_plugins.evaluators.errors import ConfigChanged, ConfigError, DataError, LabelError
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.reports.figures import save
from nni_plugins.evaluators.training.settings import TrainingSettings
from nni_plugins.spaces import NASBench201
from nni_plugins.spaces.cells import DARTS, RobustDARTS

from .tiny import Interrupted, Interrupting, at, images

pytestmark = pytest.mark.usefixtures("plain_convolutions")

TINY = NetworkSettings(block="basic", blocks=(1, 1), width=8)  # with 4, oneDNN 3.10 crashes on some CPUs


def training(**changes: Any) -> TrainingSettings:
    return TrainingSettings(
        **{
            "epochs": 3,
            "batch_size": 5,
            "learning_rate": 0.05,
            "accelerator": "cpu",
            "checkpoint_seconds": 0,
            **changes,
        }
    )


# -- networks ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "depth", "parameters"),
    [
        (
            NetworkSettings(block="basic", blocks=(2, 2, 2, 2)),
            18,
            11_173_962,
        ),  # the known sizes of CIFAR's ResNet-18 and -50
        (NetworkSettings(), 50, 23_520_842),
    ],
)
def test_the_networks_are_resnets(settings: NetworkSettings, depth: int, parameters: int) -> None:
    with torch.device("meta"):
        network = ResidualNetwork(settings, 10)
    assert settings.depth == depth
    assert sum(p.numel() for p in network.parameters()) == parameters
    convolutions = sum(isinstance(m, nn.Conv2d) for name, m in network.named_modules() if "shortcut" not in name)
    assert convolutions + 1 == depth


def test_a_plain_network_has_no_skips() -> None:
    plain, residual = (ResidualNetwork(TINY, 3, skips) for skips in ("none", "identity"))
    assert not any("shortcut" in name for name, _ in plain.named_parameters())
    assert any("shortcut" in name for name, _ in residual.named_parameters())
    assert plain(torch.randn(2, 3, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize("skips", ["block", "network"])
def test_lambda_weighs_the_skip(skips: Any) -> None:
    """0 is the plain network, 1 the ordinary residual one, and between them the block is relu(f + lambda x)."""
    settings, x = NetworkSettings(block="basic", blocks=(2,), width=4), torch.randn(2, 3, 6, 6)
    network = ResidualNetwork(settings, 3, skips, 0.25).eval()
    for other, value in (("none", 0.0), ("identity", 1.0)):
        peer = ResidualNetwork(settings, 3, other).eval()
        peer.load_state_dict({k: v for k, v in network.state_dict().items() if k != "strengths"})
        with torch.no_grad():
            network.strengths.fill_(value)
        assert torch.allclose(network(x), peer(x), atol=1e-6)
    block, h = network.blocks[0], torch.randn(2, 4, 6, 6)
    f = block.layers[1](torch.relu(block.layers[0](h)))
    assert torch.allclose(block(h, torch.tensor(0.25)), torch.relu(f + 0.25 * h), atol=1e-6)
    assert len(network.lambda_names) == len(network.lambdas) == (2 if skips == "block" else 1)


def test_lambda_stays_between_0_and_1_and_comes_back() -> None:
    network = ResidualNetwork(TINY, 3, "block", 1.0).train()
    with torch.no_grad():
        network.strengths.copy_(torch.tensor([1.7, -0.3]))
    assert network.lambdas.tolist() == [1.0, 0.0]
    network(torch.randn(4, 3, 8, 8)).square().sum().backward()
    assert network.strengths.tolist() == [1.0, 0.0], "projected before it is used"
    assert (network.strengths.grad != 0).all(), "at the border there is still a gradient, so that lambda can come back"
    with pytest.raises(ConfigError, match="0 <= lambda <= 1"):
        ResidualNetwork(TINY, 3, "block", 1.5)
    with pytest.raises(ConfigError, match="has no lambda"):
        _ = ResidualNetwork(TINY, 3, "none").lambdas


def test_what_is_frozen() -> None:
    network = freeze(ResidualNetwork(TINY, 3, "block"), "norms")
    learns = {name for name, p in network.named_parameters() if p.requires_grad}
    assert learns == {n for n, p in network.named_parameters() if p.ndim < 2} | {"classifier.weight"}
    assert all(p.requires_grad for p in freeze(network, "all").parameters())


# -- eta ---------------------------------------------------------------------------------------------------------------
def pair(**more: Any) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32, **more))


def test_eta_by_hand() -> None:
    """W = ±w in every channel: Var[W gamma / sigma] is w² gamma² / (v + eps), averaged over the channels."""
    network = pair(eps=0.5)
    with torch.no_grad():
        network[0].weight.copy_(
            0.3 * torch.sign(torch.randn(32, 16, 3, 3)).abs() * torch.tensor([1.0, -1.0]).repeat(8)[None, :, None, None]
        )
    layers = normalised_convolutions(network, torch.randn(2, 16, 4, 4))
    initial = weight_variances(layers)
    assert initial.tolist() == pytest.approx([0.09], rel=1e-5)
    with torch.no_grad():
        network[1].running_var.copy_(torch.tensor([1.5, 3.5]).repeat(16))  # sigma² = 2 and 4
        network[1].weight.copy_(torch.tensor([2.0, 1.0]).repeat(16))
        network[0].weight.mul_(2)
    expected = (4 * 4 / 2 + 4 / 4) / 2  # (W / W_init)² gamma² / sigma²
    assert relative_variances(layers, initial).tolist() == pytest.approx([expected], rel=1e-5)
    assert gradient_condition(layers, "out").tolist() == pytest.approx([9 * 32 / 2 * expected * 0.09], rel=1e-5)
    assert gradient_condition(layers, "in").tolist() == pytest.approx([9 * 16 / 2 * expected * 0.09], rel=1e-5)


@pytest.mark.parametrize(
    ("inputs", "eta"),
    [
        (lambda z: z / math.sqrt(2), 1.0),  # mean 0, variance 1/2: the paper's case
        (torch.relu, 1 / (1 - 1 / math.pi)),  # behind a ReLU, whose variance about its mean is (1 - 1 / pi) / 2
    ],
)
def test_eta_at_hes_initialisation(inputs: Callable[[torch.Tensor], torch.Tensor], eta: float) -> None:
    with torch_fork(0, "test"):
        convolution, norm = nn.Conv2d(64, 256, 3, bias=False), nn.BatchNorm2d(256, momentum=1.0)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_in", nonlinearity="relu")
        x = inputs(torch.randn(64, 64, 8, 8))
    network = nn.Sequential(convolution, norm)
    network.train()(x)
    layers = normalised_convolutions(network, x[:2])
    found = relative_variances(layers, weight_variances(layers)).item()
    assert found == pytest.approx(eta, rel=0.03)
    # With sigma = 1 the weights have variance 2 / n, so that the condition with n the fan-in is eta itself.
    assert gradient_condition(layers, "in").item() == pytest.approx(found, rel=0.02)


def test_convolutions_are_found_by_what_happens() -> None:
    """Order and pairs come from the forward pass, in any network; a convolution without a norm behind it is left out."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.late, self.first, self.bare = (
                nn.BatchNorm2d(3),
                nn.Conv2d(3, 3, 1),
                nn.Conv2d(3, 3, 1),
                nn.Conv2d(3, 3, 1),
            )
            self.other = nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bare(torch.relu(self.norm(self.late(torch.relu(self.other(self.first(x)))))))

    network = Odd().train()
    found = normalised_convolutions(network, torch.randn(2, 3, 4, 4))
    assert list(found) == ["first", "late"] and found["first"][1] is network.other and found["late"][1] is network.norm
    assert network.training and int(network.norm.num_batches_tracked) == 0
    with pytest.raises(ConfigError, match="no convolution with a batch norm"):
        normalised_convolutions(nn.Linear(3, 3), torch.randn(2, 3))
    with pytest.raises(ConfigError, match="running variance"):
        relative_variances({"x": (network.first, nn.BatchNorm2d(3, track_running_stats=False))}, torch.ones(1))


def test_measured_gradients_of_inputs() -> None:
    """Of a linear chain they are known: dL/dX of ``2 * (3 x)`` is the weights times that of the output."""
    first, second = nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False)
    with torch.no_grad():
        first.weight.fill_(3.0)
        second.weight.fill_(2.0)
    layers = {"first": (first, nn.BatchNorm2d(1)), "second": (second, nn.BatchNorm2d(1))}
    x, g = torch.randn(4, 1, 5, 5), torch.randn(4, 1, 5, 5)
    found = input_gradient_variances(nn.Sequential(first, second), layers, x, lambda y: (y * g).sum() / len(y))
    variance = float(g.var(correction=0))
    assert found == {"first": pytest.approx(36 * variance, rel=1e-4), "second": pytest.approx(4 * variance, rel=1e-4)}
    assert first.weight.grad is None


# -- recorded trainings ------------------------------------------------------------------------------------------------
def test_the_record_has_the_start_and_every_epoch() -> None:
    network = nn.Linear(2, 2)
    recorded = Recorded(network, lambda: network.weight.sum().view(1), 3)
    recorded.steps_per_epoch = 2
    expected = []
    for step in range(6):
        if step % 2 == 0:
            expected.append(network.weight.detach().sum().item())
        recorded.train()(torch.ones(1, 2))
        recorded.eval()(torch.ones(1, 2))  # an evaluation counts for nothing
        with torch.no_grad():
            network.weight.add_(1)
    expected.append(network.weight.detach().sum().item())
    assert recorded.values()[:, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("step", [1, 4, 6, 7, 9])
def test_a_killed_study_ends_as_an_undisturbed_one(tmp_path: Path, step: int) -> None:
    data = images(14, 8)
    whole = lambda_curve(data, Interrupting(), TINY, training(), "all", 0.5, 0)
    with pytest.raises(Interrupted):
        lambda_curve(data, Interrupting(at(step)), TINY, training(), "all", 0.5, 0, folder=tmp_path / "run")
    resumed = lambda_curve(data, Interrupting(), TINY, training(), "all", 0.5, 0, folder=tmp_path / "run")
    assert np.array_equal(whole.values, resumed.values) and whole.history == resumed.history
    assert (
        whole.values.shape == (4, 2)
        and (whole.values[0] == 0.5).all()
        and not np.array_equal(whole.values[1], whole.values[0])
    )
    again = lambda_curve(
        data, Interrupting(at(1)), TINY, training(), "all", 0.5, 0, folder=tmp_path / "run"
    )  # trains nothing
    assert np.array_equal(again.values, whole.values)
    with pytest.raises(ConfigChanged, match="another configuration"):
        lambda_curve(data, Interrupting(), TINY, training(), "norms", 0.5, 0, folder=tmp_path / "run")


def test_eta_of_a_training_and_its_last_row() -> None:
    """Row 0 is 1 over the batch norms' own variances; frozen convolutions change eta through gamma and sigma alone."""
    curve = eta_curve(images(20, 8), RandomLabels(4), TINY, training(), "norms", 0)
    assert curve.eta.shape == curve.condition.shape == (4, 5) and np.isfinite(curve.eta).all()
    with torch_fork(0, "initialisation"):
        network = ResidualNetwork(TINY, 4, "none")
    settle_on(network, images(20, 8))
    pairs = normalised_convolutions(network, torch.zeros(2, 3, 8, 8))
    assert list(pairs) == curve.layers
    assert curve.eta[0].tolist() == pytest.approx(relative_variances(pairs, weight_variances(pairs)).tolist())
    assert not np.allclose(curve.eta[0], curve.eta[-1])


def test_label_free_studies_never_look_at_labels() -> None:
    def forbidden() -> torch.Tensor:
        raise AssertionError("labels were read")

    data = ImageData(images(20, 8, labels=forbidden), images(10, 8, 1, labels=forbidden))
    rotated = depth_errors(data, Rotation(), TINY, training(epochs=1), "all", 0)
    assert rotated.test_error is not None and 0 <= rotated.test_error <= 100
    assert depth_errors(data, RandomLabels(4), TINY, training(epochs=1), "all", 0).test_error is None
    assert len(lambda_curve(data.train, Rotation(), TINY, training(epochs=1), "all", 1.0, 0).history) == 1


def test_depth_errors_on_digits() -> None:
    data = load(DataSettings(limit=150))
    errors = depth_errors(data, Supervised(), TINY, training(epochs=8, batch_size=15, learning_rate=0.2), "all", 0)
    assert errors.depth == 6 and errors.train_error == 100 - errors.history[-1]["accuracy"]
    assert errors.test_error is not None and errors.test_error < 80, "better than chance, 90 %"


def test_what_is_refused_before_training() -> None:
    with pytest.raises(DataError, match="no test images"):
        depth_errors(ImageData(load(DataSettings(limit=20)).train, None), Supervised(), TINY, training(), "all", 0)
    with pytest.raises(LabelError):
        depth_errors(ImageData(images(20), images(20)), Supervised(), TINY, training(), "all", 0)
    from nni_plugins.evaluators import Jigsaw

    with pytest.raises(ConfigError, match="another head"):
        lambda_curve(images(20, 32), Jigsaw(grid=2, permutations=4), TINY, training(), "all", 1.0, 0)


# -- what a search left ------------------------------------------------------------------------------------------------
COLLAPSING = [
    "|nor_conv_3x3~0|+|skip_connect~0|none~1|",
    "|nor_conv_3x3~0|+|skip_connect~0|skip_connect~1|",
    "|skip_connect~0|+|skip_connect~0|none~1|",
]
P = [0.1, 0.2, 0.3, 0.25, 0.15]


def write(folder: Path, genotypes: list[str], mixtures: bool = True, eigenvalues: bool = True) -> Path:
    folder.mkdir(parents=True)
    rows = [
        {"epoch": e + 1, "loss": 1.0, "genotype": g} | ({"eigenvalue": 0.1 * e} if eigenvalues else {})
        for e, g in enumerate(genotypes)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if mixtures:
        lines = [
            {"epoch": e + 1, "operations": {"cell": [P, P[::-1], [0.2] * 5]}, "shares": {}}
            for e in range(len(genotypes))
        ]
        (folder / "mixtures.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_the_record_of_a_search(tmp_path: Path) -> None:
    record = read_search(write(tmp_path / "search-0", COLLAPSING), NASBench201(nodes=3))
    assert record.derived["cell"].tolist() == [[1, 2, 1], [2, 3, 2], [2, 2, 2]] and record.skips.tolist() == [1, 2, 2]
    assert [(edge.cell, edge.name) for edge in record.edges] == [("cell", "0→1"), ("cell", "0→2"), ("cell", "1→2")]
    assert record.edges[0].operations == ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    entropy = -sum(p * math.log(p) for p in P)
    assert record.edges[0].entropy.tolist() == pytest.approx([entropy] * 3) and record.edges[2].entropy[
        0
    ] == pytest.approx(math.log(5))
    assert record.eigenvalues == {1: 0.0, 2: 0.1, 3: 0.2}
    assert (
        record.collapsed == ["cell"]
        and "search-0 collapsed" in record.reading()
        and "2 of 2 operations of the cell (2 with pools" in record.reading()
    )


def test_early_stopping_decides_which_epoch_counts(tmp_path: Path) -> None:
    back = Rollback.of(
        {"method": "early_stop", "epoch": 1, "abandoned": [{"epoch": 2, "eigenvalue": 5.0}, {"epoch": 3}]}
    )
    record = read_search(write(tmp_path / "search-0", COLLAPSING), NASBench201(nodes=3), [back])
    assert back.eigenvalues == {2: 5.0} and record.stopped == record.result_epoch == 1
    assert record.collapsed == [] and "did not collapse" in record.reading() and "1 of 2" in record.reading()
    adaptive = read_search(tmp_path / "search-0", NASBench201(nodes=3), [Rollback("adaptive", 1, {})])
    assert adaptive.stopped is None and adaptive.result_epoch == 3


@pytest.mark.parametrize("space", [DARTS(), RobustDARTS(variant="S1"), RobustDARTS(variant="S3")])
def test_edges_of_cells_with_two_kinds(tmp_path: Path, space: Any) -> None:
    """The order of probabilities is the mixed supernet's, with ``none`` where the search has it."""
    from nni_plugins.spaces.mixed.network import mixed_operations

    names = mixed_operations(space)
    genotype = space.to_string(space.decode(space.sample(np.random.default_rng(0), 1))[0])
    folder = tmp_path / "search-1"
    write(folder, [genotype], mixtures=False)
    operations = {kind: [[1 / len(edge)] * len(edge) for edge in edges] for kind, edges in names.items()}
    (folder / "mixtures.jsonl").write_text(json.dumps({"epoch": 1, "operations": operations, "shares": {}}) + "\n")
    record = read_search(folder, space)
    assert [edge.operations for edge in record.edges] == [tuple(edge) for edges in names.values() for edge in edges]
    assert {edge.cell for edge in record.edges} == set(record.derived) == {"normal", "reduce"}
    assert [counts[0, 1] for counts in record.derived.values()] == [8, 8], "two operations for each of four nodes"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.jsonl", "", "no epochs yet"),
        ("metrics.jsonl", "{broken", "damaged"),
        ("metrics.jsonl", '{"epoch": 1, "loss": 2}\n', "no differentiable search"),
        ("metrics.jsonl", '{"epoch": 1, "genotype": "|nor_conv_9x9~0|"}\n', "search-0"),
        ("mixtures.jsonl", '{"epoch": 1, "operations": {"cell": [[0.5, 0.5]]}}\n', "1 edges"),
        ("mixtures.jsonl", '{"epoch": 1, "operations": {"cell": [[0.5], [0.5, 0.1]]}}\n', "damaged"),
    ],
)
def test_damaged_searches(tmp_path: Path, file: str, content: str, message: str) -> None:
    folder = write(tmp_path / "search-0", COLLAPSING)
    (folder / file).write_text(content)
    with pytest.raises(DataError, match=message):
        read_search(folder, NASBench201(nodes=3))


# -- figures -----------------------------------------------------------------------------------------------------------
def test_figures_show_the_numbers(tmp_path: Path) -> None:
    record = read_search(
        write(tmp_path / "search-0", COLLAPSING), NASBench201(nodes=3), [Rollback("early_stop", 2, {3: 4.0})]
    )
    figure = mixture_figure(record)
    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in panels] == ["cell 0→1", "cell 0→2", "cell 1→2"]
    assert [float(line.get_ydata()[0]) for line in panels[0].lines[:5]] == P
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(record.edges[0].operations), (
        "the legend stands there once"
    )
    [ax] = skip_figure([record]).axes
    assert ax.lines[0].get_ydata().tolist() == [1, 2, 2]
    [ax] = eigenvalue_figure([record]).axes
    assert ax.lines[0].get_ydata().tolist() == pytest.approx([0, 0.1, 0.2]) and ax.lines[
        1
    ].get_ydata().tolist() == pytest.approx([0.1, 4.0])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["search-0", "search-0 stopped at 2"]
    twice = read_search(
        tmp_path / "search-0",
        NASBench201(nodes=3),
        [Rollback("adaptive", 2, {3: 4.0}), Rollback("adaptive", 2, {3: 3.0})],
    )
    [ax] = eigenvalue_figure([twice]).axes
    assert len(ax.lines) == 5 and [text.get_text() for text in ax.get_legend().get_texts()] == [
        "search-0",
        "search-0 rolled back to 2",
    ]
    [ax] = entropy_figure(record).axes
    assert ax.lines[0].get_ydata()[0] == pytest.approx(record.edges[0].entropy[0])


def test_figures_of_networks() -> None:
    curve = lambda_curve(images(14, 8), RandomLabels(4), TINY, training(epochs=2), "all", 0.5, 0)
    [ax] = lambda_figure([curve]).axes
    assert ax.lines[-1].get_ydata().tolist() == pytest.approx(curve.values.mean(1).tolist())
    eta = np.array([[1.0, 4.0], [0.25, 0.25]])
    [ax] = eta_figure([EtaCurve("norms", ["a", "b"], eta, eta, [])]).axes
    assert ax.lines[0].get_ydata().tolist() == pytest.approx([2.0, 0.25]), "the geometric mean"
    bars = [
        patch.get_height()
        for patch in option_figure({"A": [(90.0, 50.0), (80.0, 60.0)], "C": [(70.0, 95.0)]}).axes[0].patches
    ]
    assert bars == [85.0, 70.0, 55.0, 95.0]
    two = depth_figure({("all", "18"): ([1.0], [2.0]), ("all", "50"): ([3.0], [4.0]), ("norms", "18"): ([5.0], [])})
    assert [[p.get_height() for p in ax.patches] for ax in two.axes] == [[1.0, 3.0, 2.0, 4.0], [5.0]]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_pictures_by_suffix(tmp_path: Path, suffix: str) -> None:
    files = [save(option_figure({"A": [(90.0, 50.0)]}), tmp_path / f"{i}{suffix}") for i in range(2)]
    begins = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert files[0].read_bytes().startswith(begins) and files[0].read_bytes() == files[1].read_bytes()
    with pytest.raises(ConfigError, match=r"must end in"):
        save(option_figure({"A": [(90.0, 50.0)]}), tmp_path / "x.gif")
    with pytest.raises(ConfigError, match="no folder"):
        save(option_figure({"A": [(90.0, 50.0)]}), tmp_path / "none" / "x.png")


def test_every_operation_of_darts_looks_different() -> None:
    looks = look(["none", *DARTS().parts[0].values[1:]])
    assert len({(str(style["color"]), str(style["linestyle"])) for style in looks.values()}) == 8
    assert max(looks, key=lambda name: float(str(looks[name]["linewidth"]))) == "skip_connect"


# -- what is written ---------------------------------------------------------------------------------------------------
def test_a_diagnosis_is_written(tmp_path: Path) -> None:
    about = {
        "study": "options",
        "title": "Diagnosis: options",
        "settings": {"seeds": [0]},
        "parts": [{"option": "A"}],
        "reading": ["option A found nothing."],
        "failed": ["C-0"],
        "versions": {"torch": "2"},
    }
    rows = [{"option": "A", "accuracy": 50.0, "test_error": None}]
    value = write_diagnosis(tmp_path, about, rows, lambda: {"options": option_figure({"A": [(90.0, 50.0)]})})
    assert value == {"schema": 1, **about} == json.loads((tmp_path / "diagnosis.json").read_text())
    assert (tmp_path / "parts.csv").read_text() == "option,accuracy,test_error\nA,50.0,\n"
    text = (tmp_path / "report" / "report.md").read_text()
    assert "- option A found nothing." in text and "| A | 50 | - |" in text and "failed: C-0" in text
    assert (tmp_path / "report" / "report.html").read_text().count("data:image/svg+xml") == 1

    def broken() -> Any:
        raise RuntimeError("no fonts")

    with pytest.raises(RuntimeError, match="no fonts"):
        write_diagnosis(tmp_path / "broken", about, rows, broken)
    assert sorted(path.name for path in (tmp_path / "broken").iterdir()) == ["diagnosis.json", "parts.csv"]
