"""Diagnoses of plain and residual networks: lambda, eta and depth (RF-DARTS, figures 2 to 4). Free of torch until they
run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.base import Report
from nni_plugins.evaluators.diagnostics.curves import EtaCurve, LambdaCurve
from nni_plugins.evaluators.diagnostics.settings import TITLES

from ...experiment.jobs import Value
from .question import Condition, Question, Results
from .settings import CurveDiagnosis, DepthDiagnosis, EtaDiagnosis, LambdaDiagnosis

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class NetworkQuestion(Question):
    """Of networks for classes."""

    def prepare(self) -> None:
        """The images serve the objective, and it has a head of classes."""
        from nni_plugins.evaluators.diagnostics.recorded import classes

        classes(self.objective, self.data.train)


class CurveQuestion(NetworkQuestion):
    """Of one network that is measured after every epoch."""

    settings: CurveDiagnosis

    def identity(self, condition: Condition) -> dict[str, Any]:
        """The network, and what was varied."""
        return {"network": self.settings.network.model_dump(mode="json"), "seed": self.settings.seed, **condition}

    def parts(self, results: Results) -> list[dict[str, Any]]:
        """The curves."""
        return list(results.values())


class LambdaQuestion(CurveQuestion):
    """How strong does a network want its skip connections?"""

    about = "strength lambda of skip connections over epochs, from several starts"
    settings_class = LambdaDiagnosis
    settings: LambdaDiagnosis

    @property
    def conditions(self) -> dict[str, Condition]:
        """What learns, and where lambda starts."""
        return {
            f"{kind}-from-{initial:g}": {"trainable": kind, "initial": initial}
            for kind in self.settings.trainable
            for initial in self.settings.initial
        }

    def identity(self, condition: Condition) -> dict[str, Any]:
        """The kind of skip connections, too."""
        return {**super().identity(condition), "skips": self.settings.skips}

    def run(self, condition: Condition, folder: Path | None, report: Report | None) -> Value:
        """``default``: the mean lambda in the end."""
        from nni_plugins.evaluators.diagnostics.lambdas import lambda_curve

        s = self.settings
        curve = lambda_curve(
            self.data.train,
            self.objective,
            s.network,
            s.training,
            condition["trainable"],
            condition["initial"],
            s.seed,
            skips=s.skips,
            folder=folder,
            report=report,
        )
        return {"default": float(curve.values[-1].mean()), "result": {**asdict(curve), "values": curve.values.tolist()}}

    def rows(self, results: Results) -> list[dict[str, Any]]:
        """Lambda in the end, over the blocks."""
        return [
            {"trainable": one["trainable"], "initial": one["initial"], **_range("lambda", np.array(one["values"][-1]))}
            for one in results.values()
        ]

    def reading(self, results: Results) -> list[str]:
        """Where lambda ends, and whether it still moves, by what learns."""
        sentences, epochs = [], self.settings.training.epochs
        for kind in self.settings.trainable:
            group = [one for one in results.values() if one["trainable"] == kind]
            curves: list[npt.NDArray[np.float64]] = [np.array(one["values"]) for one in group]
            if not curves:
                continue
            means, middle = [float(values[-1].mean()) for values in curves], epochs // 2
            moved = max(float(np.abs(values[-1] - values[middle]).mean()) for values in curves)
            ends = ", ".join(f"{mean:.2f} (from {one['initial']:g})" for mean, one in zip(means, group, strict=True))
            sentences.append(
                f"{TITLES[kind]}: mean lambda after {epochs} epochs {ends}; the ends differ by "
                f"{max(means) - min(means):.2f}, and a lambda moved by {moved:.2f} on average since epoch {middle} "
                "where "
                "it moved most."
            )
        return sentences

    def figures(self, results: Results) -> dict[str, Figure]:
        """The curves."""
        from nni_plugins.evaluators.diagnostics.figures import lambda_figure

        return {"lambda": lambda_figure([_lambda_curve(one) for one in results.values()])}


def _lambda_curve(result: Mapping[str, Any]) -> LambdaCurve:
    return LambdaCurve(**{**result, "values": np.array(result["values"])})


class EtaQuestion(CurveQuestion):
    """Do the variances of the weights stay, as the theory of random features wants it?"""

    about = "relative variance eta of every convolution of a plain network over epochs"
    settings_class = EtaDiagnosis
    settings: EtaDiagnosis

    @property
    def conditions(self) -> dict[str, Condition]:
        """What learns."""
        return {kind: {"trainable": kind} for kind in self.settings.trainable}

    def run(self, condition: Condition, folder: Path | None, report: Report | None) -> Value:
        """``default``: the geometric mean of eta in the end."""
        from nni_plugins.evaluators.diagnostics.variance import eta_curve

        s = self.settings
        curve = eta_curve(
            self.data.train,
            self.objective,
            s.network,
            s.training,
            condition["trainable"],
            s.seed,
            folder=folder,
            report=report,
        )
        lists = {"eta": curve.eta.tolist(), "condition": curve.condition.tolist()}
        return {"default": _geometric_mean(curve.eta[-1]), "result": {**asdict(curve), **lists}}

    def rows(self, results: Results) -> list[dict[str, Any]]:
        """Eta at the start and in the end, over the layers."""
        return [
            {
                "trainable": one["trainable"],
                "layers": len(one["layers"]),
                "eta_at_the_start": _geometric_mean(np.array(one["eta"][0])),
                **_range("eta", np.array(one["eta"][-1])),
                "eta_geometric_mean": _geometric_mean(np.array(one["eta"][-1])),
            }
            for one in results.values()
        ]

    def reading(self, results: Results) -> list[str]:
        """Where eta begins and ends, by what learns."""
        sentences = []
        for one in results.values():
            first, last = (_geometric_mean(np.array(one["eta"][i])) for i in (0, -1))
            low, high = min(one["eta"][-1]), max(one["eta"][-1])
            sentences.append(
                f"{TITLES[one['trainable']]}: mean eta of {len(one['layers'])} layers {first:.2f} at the start and "
                f"{last:.3g} after {self.settings.training.epochs} epochs ({low:.3g} to {high:.3g})."
            )
        return sentences

    def figures(self, results: Results) -> dict[str, Figure]:
        """The curves."""
        from nni_plugins.evaluators.diagnostics.figures import eta_figure

        return {"eta": eta_figure([_eta_curve(one) for one in results.values()])}


def _eta_curve(result: Mapping[str, Any]) -> EtaCurve:
    return EtaCurve(**{**result, "eta": np.array(result["eta"]), "condition": np.array(result["condition"])})


def _geometric_mean(values: npt.NDArray[np.float64]) -> float:
    return float(np.exp(np.log(np.maximum(values, 1e-12)).mean()))


def _range(name: str, values: npt.NDArray[np.float64]) -> dict[str, float]:
    return {
        f"{name}_mean": float(values.mean()),
        f"{name}_least": float(values.min()),
        f"{name}_most": float(values.max()),
    }


class DepthQuestion(NetworkQuestion):
    """Does a deeper network without skip connections do worse?"""

    about = "training and test error of plain networks by depth"
    settings_class = DepthDiagnosis
    settings: DepthDiagnosis

    @property
    def conditions(self) -> dict[str, Condition]:
        """What learns, the network, and the seed."""
        return {
            f"{kind}-{name.replace(' ', '_')}-{seed}": {"trainable": kind, "network": name, "seed": seed}
            for kind in self.settings.trainable
            for name in self.settings.networks
            for seed in self.settings.seeds
        }

    def identity(self, condition: Condition) -> dict[str, Any]:
        """The network itself, whatever it is called."""
        network = self.settings.networks[condition["network"]].model_dump(mode="json")
        return {**condition, "network": network, "skips": self.settings.skips}

    def run(self, condition: Condition, folder: Path | None, report: Report | None) -> Value:
        """``default``: percent of the training images that are classified rightly in the last epoch."""
        from nni_plugins.evaluators.diagnostics.depth import depth_errors

        s = self.settings
        errors = depth_errors(
            self.data,
            self.objective,
            s.networks[condition["network"]],
            s.training,
            condition["trainable"],
            condition["seed"],
            skips=s.skips,
            folder=folder,
            report=report,
        )
        return {"default": 100 - errors.train_error, "result": asdict(errors)}

    def parts(self, results: Results) -> list[dict[str, Any]]:
        """The errors, with the network's name."""
        conditions = self.conditions
        return [
            {"network": conditions[name]["network"], "seed": conditions[name]["seed"], **result}
            for name, result in results.items()
        ]

    def rows(self, results: Results) -> list[dict[str, Any]]:
        """The same without the curves."""
        return [{key: value for key, value in part.items() if key != "history"} for part in self.parts(results)]

    def _errors(self, results: Results) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
        """(trainable, network) -> training and test errors of all seeds; the latter may be empty."""
        errors: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
        for part in self.parts(results):
            train, test = errors.setdefault((part["trainable"], part["network"]), ([], []))
            train.append(part["train_error"])
            if part["test_error"] is not None:
                test.append(part["test_error"])
        return errors

    def reading(self, results: Results) -> list[str]:
        """Mean errors, by what learns and network."""
        sentences = []
        for (kind, name), (train, test) in self._errors(results).items():
            tested = f", test error {np.mean(test):.1f} %" if test else ""
            sentences.append(
                f"{TITLES[kind]}, {name}: training error {np.mean(train):.1f} %{tested} (mean of {len(train)})."
            )
        return sentences

    def figures(self, results: Results) -> dict[str, Figure]:
        """Bars."""
        from nni_plugins.evaluators.diagnostics.figures import depth_figure

        return {"depth": depth_figure(self._errors(results))}
