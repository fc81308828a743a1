"""NAO-V2's ranking study: architectures trained from scratch, and supernets that were trained on them. Free of torch
until it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nni_plugins.evaluators.base import Report, digest, lasting
from nni_plugins.evaluators.data.report import tell
from nni_plugins.evaluators.reports.rank_study.report import Group, RankStudy, write_rank_study
from nni_plugins.evaluators.reports.rank_study.rows import Condition, Floats, Sizes
from nni_plugins.evaluators.tables.table import Table

from ...experiment.base import HARMLESS, WHOLE_SPACE, Axes, Experiment, choice
from ...experiment.jobs import Job, Plan, Value
from ...experiment.result import versions
from ...experiment.truth import truth_table
from .draw import Drawn, draw
from .settings import RankStudySettings

if TYPE_CHECKING:
    from .training import Trainings

TRUTH, SUPERNET = "truth", "supernet"


class RankStudyExperiment(Experiment):
    """``tuner.name: RankStudy``. Of a supernet's job, ``variant`` is the name of its condition."""

    name = "RankStudy"
    about = "how well the shared weights of a supernet rank architectures"
    command = "rank-study"
    settings_class = RankStudySettings
    paths = ("data.path", "truth.table")
    harmless = HARMLESS | {"truth", "analysis"}
    keeps_weights = False
    settings: RankStudySettings

    # -- jobs ----------------------------------------------------------------------------------------------------------
    @property
    def phases(self) -> tuple[str, ...]:
        """Supernets come last: they are of no use without a truth."""
        return (SUPERNET,) if self.settings.stand_alone is None else (TRUTH, SUPERNET)

    @cached_property
    def table(self) -> Table | None:
        """The true accuracies, where they are known."""
        return truth_table(self.settings.truth, self.settings.search_space, self.settings.data)

    @cached_property
    def drawn(self) -> dict[Sizes, Drawn]:
        """The architectures of each of ``sizes``."""
        return {sizes: draw(self.settings, sizes, self.table) for sizes in self.settings.sizes}

    @cached_property
    def _texts(self) -> dict[Sizes, list[str]]:
        space = self.settings.search_space
        return {sizes: [space.to_string(a) for a in drawn.architectures] for sizes, drawn in self.drawn.items()}

    @cached_property
    def _conditions(self) -> dict[str, Condition]:
        return {condition.name: condition for condition in self.settings.conditions}

    def first_jobs(self) -> Iterable[Job]:
        """Each architecture's trainings, though it be in several draws, then a supernet for each condition."""
        distinct = dict.fromkeys(a for drawn in self.drawn.values() for a in drawn.architectures)
        for seed in self._truth_seeds:
            for architecture in distinct:
                yield Job(f"truth-{digest(architecture)}-{seed}", TRUTH, seed, choices=architecture.as_dict())
        for name, condition in self._conditions.items():
            yield Job(f"supernet-{name}", SUPERNET, condition.seed, variant=name)

    @property
    def _truth_seeds(self) -> tuple[int, ...]:
        return () if self.settings.stand_alone is None else self.settings.stand_alone.seeds

    def is_essential(self, job: Job) -> bool:
        """Without the truth there is nothing to compare supernets with."""
        return job.phase == TRUTH

    @property
    def counted(self) -> str:
        """What the trials are."""
        return "sizes x schedules x epochs x seeds" + (", and the stand-alone trainings" if self._truth_seeds else "")

    def identity(self, job: Job) -> dict[str, Any]:
        """Of a truth the training and its space; of a supernet all that trains and evaluates it."""
        settings, data = self.settings, self.settings.data.model_dump(mode="json")
        if job.phase == TRUTH:
            assert settings.stand_alone is not None
            return {
                "space": {**settings.space, **settings.stand_alone.space},
                "data": data,
                "objective": settings.target,
                "training": lasting(settings.stand_alone.training.model_dump(mode="json")),
                "choices": job.choices,
                "seed": job.seed,
            }
        condition = self._conditions[job.variant]
        training = settings.training.model_dump(mode="json")
        return {
            "space": settings.space,
            "data": data,
            "objective": settings.objective,
            "architectures": self._texts[condition.sizes],
            "sampling": settings.sampling,
            "random_seed": settings.random_seed,
            "training": {**lasting(training), "epochs": condition.epochs, "schedule": condition.schedule},
            "evaluation": settings.evaluation.model_dump(mode="json"),
            "seed": condition.seed,
        }

    # -- work ----------------------------------------------------------------------------------------------------------
    @property
    def objectives(self) -> dict[str, dict[str, Any]]:
        """Of the supernets."""
        return {"objective": self.settings.objective}

    def check(self) -> None:
        """The table, and how many architectures there are."""
        _ = self.drawn

    def prepare(self) -> None:
        """Images and objectives are tried."""
        _ = self._trainings

    @cached_property
    def _trainings(self) -> Trainings:
        from .training import Trainings

        return Trainings(self.settings)

    def run(self, job: Job, folder: Path | None, report: Report | None) -> Value:
        """An architecture's accuracy, or a supernet's mean one-shot accuracy, in percent."""
        tell(self._trainings.data.report, folder)
        if job.phase == TRUTH:
            architecture = self.settings.search_space.architecture(job.choices or {})
            return {"default": self._trainings.truth(architecture, job.seed, folder, report)}
        condition = self._conditions[job.variant]
        scores, curve = self._trainings.supernet(condition, self.drawn[condition.sizes], folder, report)
        return {"default": float(scores.mean()), "result": {"scores": scores.tolist(), "curve": curve}}

    def conclude(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """``rank_study.json``, ``rows.csv``, ``scores.csv`` and the report."""
        settings, n = self.settings, self.settings.architectures
        groups = {
            sizes: Group(tuple(self._texts[sizes]), drawn.parameters, drawn.pool, self._truths(drawn, plan))
            for sizes, drawn in self.drawn.items()
        }
        done = {
            self._conditions[job.variant]: job.value["result"]
            for job in plan.of_phase(SUPERNET)
            if job.status == "done"
        }
        analysis = settings.analysis
        study = RankStudy(
            title=f"Ranking study: {n} architectures of {settings.search_space.name}",
            groups=groups,
            scores={condition: np.array(one["scores"], dtype=np.float64) for condition, one in done.items()},
            curves={condition: one["curve"] for condition, one in done.items()},
            settings=settings.model_dump(mode="json"),
            failed=[job.name for job in plan.jobs.values() if job.status == "failed"],
            versions=versions(),
            resamples=analysis.resamples,
            seed=analysis.seed,
            bin=analysis.bin,
            top=analysis.top,
        )
        return write_rank_study(study, folder)

    def _truths(self, drawn: Drawn, plan: Plan) -> list[Floats]:
        """(n,) percent each: the table's, or for each seed that of stand-alone trainings."""
        if self.table is not None and self.settings.truth is not None:
            return [self.table.values(drawn.architectures, self.settings.truth.metric)]
        names = [[f"truth-{digest(a)}-{seed}" for a in drawn.architectures] for seed in self._truth_seeds]
        return [
            np.array([plan.jobs[name].value.get("default", np.nan) for name in row], dtype=np.float64) for row in names
        ]

    # -- what people see -----------------------------------------------------------------------------------------------
    def axes(self) -> Axes:
        """Those of the supernets' conditions; where architectures are trained, too, one for what is trained, and one
        for each decision.
        """
        settings, alone = self.settings, self.settings.stand_alone is not None
        more = [WHOLE_SPACE] if alone else []
        seeds = sorted({*settings.seeds, *self._truth_seeds})
        decisions = settings.search_space.nni_search_space() if alone else {}
        return {
            **({"phase": choice(self.phases)} if alone else {}),
            "sizes": choice([*settings.sizes, *more]),
            "epochs": choice([*map(str, settings.epochs), *more]),
            "schedule": choice([*settings.schedules, *more]),
            "seed": choice(map(str, seeds)),
            **{label: choice([*axis["_value"], WHOLE_SPACE]) for label, axis in decisions.items()},
        }

    def parameters(self, job: Job) -> dict[str, Any]:
        """:data:`WHOLE_SPACE` where an axis does not concern the job."""
        place = {"phase": job.phase, "seed": str(job.seed), **(job.choices or {})}
        if job.phase == SUPERNET:
            condition = self._conditions[job.variant]
            place |= {"sizes": condition.sizes, "epochs": str(condition.epochs), "schedule": condition.schedule}
        return {axis: place.get(axis, WHOLE_SPACE) for axis in self.axes()}

    def curve_point(self, job: Job, row: Mapping[str, Any]) -> dict[str, Any]:
        """``default``: percent of the images that were classified rightly in training."""
        return {"default": row["accuracy"], **row}

    def curve_file(self, job: Job) -> str | None:
        """A supernet's training is a cycle of its own."""
        return "metrics.jsonl" if job.phase == TRUTH else "cycle-0/metrics.jsonl"

    def outcome(self, job: Job) -> str:
        """An accuracy."""
        return f"{'mean ' if job.phase == SUPERNET else ''}{job.value['default']:.2f} %"
