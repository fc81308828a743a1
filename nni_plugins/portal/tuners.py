"""The tuners that run whole experiments, by the names that a YAML file gives them."""

from __future__ import annotations

from ..experiment.settings import (
    DARTSExperiment,
    ENASExperiment,
    GDASExperiment,
    NAOV2Experiment,
    NAOWSExperiment,
    PCDARTSExperiment,
    RandomNASExperiment,
    RandomSearchExperiment,
    RFDARTSExperiment,
    RFPCDARTSExperiment,
    RLNASExperiment,
    SampleStudyExperiment,
    SETNExperiment,
    UnNASDARTSExperiment,
)
from .tuner import PhasedTuner


class RLNASTuner(PhasedTuner):
    """``tuner.name: RLNAS``; see :class:`nni_plugins.experiment.settings.RLNASExperiment`."""

    experiment = RLNASExperiment


class DARTSTuner(PhasedTuner):
    """``tuner.name: DARTS``; see :class:`nni_plugins.experiment.settings.DARTSExperiment`."""

    experiment = DARTSExperiment


class PCDARTSTuner(PhasedTuner):
    """``tuner.name: PCDARTS``; see :class:`nni_plugins.experiment.settings.PCDARTSExperiment`."""

    experiment = PCDARTSExperiment


class RFDARTSTuner(PhasedTuner):
    """``tuner.name: RFDARTS``; see :class:`nni_plugins.experiment.settings.RFDARTSExperiment`."""

    experiment = RFDARTSExperiment


class RFPCDARTSTuner(PhasedTuner):
    """``tuner.name: RFPCDARTS``; see :class:`nni_plugins.experiment.settings.RFPCDARTSExperiment`."""

    experiment = RFPCDARTSExperiment


class GDASTuner(PhasedTuner):
    """``tuner.name: GDAS``; see :class:`nni_plugins.experiment.settings.GDASExperiment`."""

    experiment = GDASExperiment


class SETNTuner(PhasedTuner):
    """``tuner.name: SETN``; see :class:`nni_plugins.experiment.settings.SETNExperiment`."""

    experiment = SETNExperiment


class RandomNASTuner(PhasedTuner):
    """``tuner.name: RandomNAS``; see :class:`nni_plugins.experiment.settings.RandomNASExperiment`."""

    experiment = RandomNASExperiment


class ENASTuner(PhasedTuner):
    """``tuner.name: ENAS``; see :class:`nni_plugins.experiment.settings.ENASExperiment`."""

    experiment = ENASExperiment


class NAOV2Tuner(PhasedTuner):
    """``tuner.name: NAOV2``; see :class:`nni_plugins.experiment.settings.NAOV2Experiment`."""

    experiment = NAOV2Experiment


class NAOWSTuner(PhasedTuner):
    """``tuner.name: NAOWS``; see :class:`nni_plugins.experiment.settings.NAOWSExperiment`."""

    experiment = NAOWSExperiment


class UnNASDARTSTuner(PhasedTuner):
    """``tuner.name: UnNASDARTS``; see :class:`nni_plugins.experiment.settings.UnNASDARTSExperiment`."""

    experiment = UnNASDARTSExperiment


class RandomSearchTuner(PhasedTuner):
    """``tuner.name: RandomSearch``; see :class:`nni_plugins.experiment.settings.RandomSearchExperiment`."""

    experiment = RandomSearchExperiment


class SampleStudyTuner(PhasedTuner):
    """``tuner.name: SampleStudy``; see :class:`nni_plugins.experiment.settings.SampleStudyExperiment`."""

    experiment = SampleStudyExperiment
