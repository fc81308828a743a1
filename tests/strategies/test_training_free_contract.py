"""The training-free searches pass the conformance suite of strategies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .test_plugins_contract import OnImages


class TrainingFree(OnImages):
    settings = {"candidates": 10, "accelerator": "cpu"}

    def training(self) -> Mapping[str, Any]:
        return {}


class TestParameters(TrainingFree):
    name, settings = "Parameters", {}


class TestMACs(TrainingFree):
    name, settings = "MACs", {}


class TestNASWOT(TrainingFree):
    name, settings = "NASWOT", {**TrainingFree.settings, "batch_size": 8}


class TestSynFlow(TrainingFree):
    name = "SynFlow"
