"""Differentiable searches with each objective on one or two processes; ``python objectives_job.py FOLDER DEVICES``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[2]))

from nni_plugins.evaluators.data import Augmentation, ImageSet
from nni_plugins.evaluators.objectives import Colorization, Head, Jigsaw, Objective, Rotation, Segmentation
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.training.bilevel import BilevelTraining
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.spaces import head_modules

OBJECTIVES: dict[str, Objective] = {
    "rotation": Rotation(),
    "colorization": Colorization(),
    "jigsaw": Jigsaw(2, 5),
    "segmentation": Segmentation(channels=4, rates=[1]),
}


class Mixture(nn.Module):
    """Two convolutions weighted by two architecture parameters, and the objective's head; without batch norms, whose
    statistics are each process' own."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        with torch_fork(0, "mixture"):
            self.edges = nn.ModuleList(nn.Conv2d(head.input_channels, 6, k, padding=k // 2) for k in (1, 3))
            self.alphas = nn.Parameter(torch.tensor([0.1, -0.1]))
            self.classifier = head_modules.build(head.form, 6, head.classes)
        for name, module in self.classifier.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                self.classifier.get_submodule(name.rpartition(".")[0])[1] = nn.Identity()  # type: ignore[operator]

    def architecture_parameters(self) -> dict[str, nn.Parameter]:
        return {"alphas.all": self.alphas}

    def genotype(self) -> str:
        return f"edge {int(self.alphas.argmax())}"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(0, 1) if x.ndim == 5 else x
        share = self.alphas.softmax(0)
        y = torch.tanh(sum(s * edge(x) for s, edge in zip(share, self.edges, strict=True)))
        return self.classifier(functional.avg_pool2d(y, 2), (x.shape[2], x.shape[3]))  # type: ignore[no-any-return]


class Recording(BilevelTraining):
    """Keeps the architecture's gradients of every step, as they are after they were averaged."""

    found: list[torch.Tensor]

    def _average(self, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        averaged = super()._average(gradients)
        self.found.append(torch.cat([gradient.flatten() for gradient in averaged]).clone())
        return averaged


def coloured(count: int, size: int = 12, labels: Any = None, maps: bool = False) -> ImageSet:
    """Images of noise whose label maps, if asked for, lack the more labels the later the image comes."""
    random = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=random, dtype=torch.uint8)
    classes = torch.randint(0, 3, (count, size, size), generator=random, dtype=torch.uint8)
    classes[torch.rand(count, size, size, generator=random) < torch.linspace(0, 0.9, count)[:, None, None]] = 255
    return ImageSet("noise", pixels, labels, augmentation=Augmentation(1, True), maps=classes if maps else None)


def everything(devices: int) -> dict[str, Any]:
    """Gradients, final weights and curve of each objective; 11 images a half, in batches of 5 and 5 (a last one is left
    out).
    """
    values = {
        "epochs": 2,
        "batch_size": 5,
        "accelerator": "cpu",
        "devices": devices,
        "learning_rate": 0.1,
        "architecture_learning_rate": 0.02,
    }
    done = {}
    for name, objective in OBJECTIVES.items():
        images = coloured(22, maps=objective.wants_maps)
        training = Recording(Mixture(objective.head(images)), objective, images, read(BilevelSettings, values), 0)
        training.found = []
        trained = training.run()
        done[name] = {"gradients": torch.stack(training.found), "final": trained.final, "history": str(trained.history)}
    return done


if __name__ == "__main__":
    torch.set_num_threads(1)
    target, count = Path(sys.argv[1]), int(sys.argv[2])
    torch.save(everything(count), target / f"result-{os.environ.get('LOCAL_RANK', '0')}.pt")
