"""The command line, as a person types it: output, exit status, and no traceback whatever is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image

from nni_plugins import cli, doctor
from nni_plugins.cli import app as application
from nni_plugins.evaluators.base import EvaluatorPlugin
from nni_plugins.evaluators.errors import MissingBackend
from nni_plugins.evaluators.stand_alone.plugin import StandAlonePlugin
from nni_plugins.experiment import search as searches
from nni_plugins.experiment.kinds import experiment_names
from nni_plugins.experiment.search import SearchExperiment
from nni_plugins.inventory import installed_plugins, plugins_with_torch
from nni_plugins.presets import preset_names, render_preset
from nni_plugins.spaces import registry
from nni_plugins.strategies.rlnas.plugin import RLNASPlugin

from .small import CELL, OTHER, Answer, Cli, arguments, content, load, stand_alone, write

pytestmark = pytest.mark.filterwarnings("ignore:the supernet sees only")
COMMANDS = (
    "auto", "list", "register", "init", "complete", "search", "score", "show", "doctor", "export", "diagnose",
    "sample-study", "rank-study", "sharing-study", "compare", "retrain", "recipes", "validate", "width", "transfer", "latency", "docs",
)  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("config") / "tiny.yml", content())


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished ``nni-plugins search``."""
    folder = tmp_path_factory.mktemp("search") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys, "argv", ["nni-plugins", "search", str(config), "--output", str(folder), "--processes", "1", "--json"]
        )
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert not caught.value.code
    return folder


# -- every command -----------------------------------------------------------------------------------------------------
def test_every_command_has_an_example() -> None:
    commands = typer.main.get_command(application.app).commands  # type: ignore[attr-defined]
    assert set(commands) == set(COMMANDS)
    for name, command in commands.items():
        assert f"Example: nni-plugins {name}" in command.help, name
        assert any("--json" in option.opts for option in command.params), name


@pytest.mark.parametrize("command", COMMANDS)
def test_help(run: Cli, command: str) -> None:
    status, out, _ = run(command, "--help")
    assert status == 0 and "Example:" in out and "--json" in out
    assert "<bool>" not in out and "so many" not in out


def test_help_lists_commands_under_headings(run: Cli) -> None:
    from nni_plugins.cli.console import PANELS

    _, out, _ = run("--help")
    places = [out.index(f" {panel} ─") for panel in PANELS]
    assert places == sorted(places) and " Commands ─" not in out
    assert "<bool>" not in out


def test_help_shows_defaults_that_are_described(run: Cli) -> None:
    """Square brackets are markup to the terminal's writer, which drops what it does not know."""
    _, out, _ = run("retrain", "--help")
    assert "torch's]" in " ".join(out.split())


def test_the_installed_script() -> None:
    """Once as a process of its own: what the other tests call is what is installed."""
    script = Path(sys.executable).with_name("nni-plugins")
    result = subprocess.run(
        [script, "show", "|nor_conv_3x4~0|+|none~0|none~1|", "--space-argument", "nodes=3"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 2 and result.stdout == "" and "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ") and "nor_conv_3x4" in result.stderr and "nor_conv_3x3" in result.stderr


@pytest.mark.parametrize(
    "words", [["serach"], ["show"], ["search", "a", "b", "c"], ["init", "x.yml", "--presets", "a"]]
)
def test_wrong_usage(run: Cli, words: list[str]) -> None:
    status, _, err = run(*words)
    assert status == 2 and "Usage:" in err


# -- list, register, init ----------------------------------------------------------------------------------------------
def test_list(run: Cli) -> None:
    plugins = run("list", "--json").json
    assert set(plugins) == set(registry.KINDS)
    rlnas = {"class": "nni_plugins.strategies.rlnas.plugin:RLNASPlugin", "problem": "", "remedy": ""}
    assert plugins["strategies"]["rlnas"] == {**rlnas, "about": f"{RLNASPlugin.about} ({RLNASPlugin.source})"}
    for kind, entries in plugins.items():
        assert all(entry["about"] and not entry["problem"] for entry in entries.values()), kind
    presets = run("list", "--presets", "--json").json
    assert tuple(presets) == preset_names() and presets["rlnas_digits"]["tuner"] == "RLNAS"
    assert "--presets are two lists" in run("list", "--presets", "--architectures")[2]
    out = run("list").out
    assert "random_labels" in out and "nni_plugins.evaluators.tables.plugin:TablePlugin" in out
    out = run("list", "--presets").out
    assert all(name in out for name in preset_names())


def test_register_twice_and_nni_knows_the_tuners(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_probes: None
) -> None:
    from nni.tools.package_utils import create_builtin_class_instance

    monkeypatch.setenv("NNI_CONFIG_DIR", str(tmp_path / "nni"))
    assert {f["state"] for f in run("doctor", "--json").json if f["subject"].startswith("tuner")} == {"broken"}
    first, status = run("register", "--json").json, (tmp_path / "nni" / "registered_algorithms.yml").read_text()
    assert sorted(name.lower() for name in first["tuners"]) == sorted([*experiment_names(), "nao"])
    assert " ".join(run("register").out.split()) == f"registered tuners: {', '.join(first['tuners'])}"
    assert (tmp_path / "nni" / "registered_algorithms.yml").read_text() == status
    known = [f["state"] for f in run("doctor", "--json").json if f["subject"].startswith("tuner")]
    assert known == ["ok"] * len(first["tuners"])
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    tuner = create_builtin_class_instance("RLNAS", arguments(), "tuners")
    assert type(tuner).__name__ == "RLNAS" and tuner._problem is None


def test_register_where_nothing_can_be_written(run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NNI_CONFIG_DIR", str(tmp_path / "file"))
    status, _, err = run("register")
    assert status == 2 and "NNI's list of tuners cannot be written" in err and "Set NNI_CONFIG_DIR" in err


@pytest.mark.parametrize("preset", ["rlnas_digits", "compare_digits_table", "sample_study_digits"])
def test_init(run: Cli, tmp_path: Path, preset: str) -> None:
    path = tmp_path / "x.yml"
    assert run("init", path, "--preset", preset).status == 0 and path.read_text() == render_preset(preset)
    path.write_text("mine")
    status, _, err = run("init", path, "--preset", preset)
    assert status == 2 and f"{path} exists." in err and "--force" in err and path.read_text() == "mine"
    assert run("init", path, "--preset", preset, "--force", "--json").json == {"file": str(path), "preset": preset}
    assert path.read_text() == render_preset(preset)


def test_init_with_an_unknown_preset(run: Cli, tmp_path: Path) -> None:
    status, _, err = run("init", tmp_path / "x.yml", "--preset", "rlnas_digit")
    assert (
        status == 2
        and "unknown preset 'rlnas_digit'; did you mean 'rlnas_digits'" in err
        and not (tmp_path / "x.yml").exists()
    )


# -- plugins that do not work ------------------------------------------------------------------------------------------
Install = Callable[[str, str], None]
STRATEGY = """
from nni_plugins.strategies.base import StrategyPlugin
from nni_plugins.strategies.score import ANGLE
class Theirs(StrategyPlugin):
    name, about, score = "Theirs", "somebody's", ANGLE
    def search(self, problem): ...
"""
TORCH = """
    def check(self, setup):
        import torch
"""
CRASH = """
    def check(self, setup):
        import sys
        assert "nni_plugins.doctor" in sys.modules, "only where doctor runs"
"""
START_TUNER = doctor._start_tuner


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a module ``theirs`` on the path, here and in processes that are started, with the entry points of its
    distribution.
    """

    def put(source: str, entry_points: str) -> None:
        site = tmp_path / "site"
        (site / "theirs-1.0.dist-info").mkdir(parents=True)
        (site / "theirs.py").write_text(source)
        (site / "theirs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        (site / "theirs-1.0.dist-info" / "entry_points.txt").write_text(entry_points)
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.setenv("PYTHONPATH", str(site))
        registry.found.cache_clear()

    yield put
    sys.modules.pop("theirs", None)
    monkeypatch.undo()
    registry.found.cache_clear()


def test_a_plugin_that_cannot_be_imported(run: Cli, install: Install, tmp_path: Path, no_probes: None) -> None:
    install("import no_such_module_anywhere", "[nni_plugins.strategies]\ntheirs = theirs:Theirs\n")
    reason = "strategy 'theirs' (theirs:Theirs) cannot be imported: ModuleNotFoundError: No module named"
    answer = run("list")
    assert answer.status == 0 and f"broken: {reason}" in " ".join(answer.out.split())
    assert run("list", "--json").json["strategies"]["theirs"]["remedy"] == "Reinstall or mend its package."
    known = findings(run("doctor", "--json"))
    assert known["strategies: theirs"]["state"] == "broken" and reason in known["strategies: theirs"]["detail"]
    assert "rlnas" in known["strategies"]["detail"] and "theirs" not in known["strategies"]["detail"]
    answer = run("search", write(tmp_path / "x.yml", content() | {"tuner": {"name": "Theirs"}}))
    assert answer.status == 2 and reason in answer.err


def test_a_plugin_that_takes_torch_into_the_tuner(install: Install) -> None:
    install("import torch" + STRATEGY, "[nni_plugins.strategies]\ntheirs = theirs:Theirs\n")
    plugins = [plugin for plugin in installed_plugins("strategies") if plugin.name in ("rlnas", "theirs", "tpesearch")]
    assert [plugin.name for plugin in plugins_with_torch([*plugins, plugins[0]])] == ["theirs"], "the others do not"


@pytest.mark.parametrize(
    ("check", "told"), [(TORCH, "ten seconds"), (CRASH, "only where doctor runs")], ids=["torch", "crash"]
)
def test_a_strategy_with_which_the_tuner_does_not_start(
    run: Cli, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_probes: None, check: str, told: str
) -> None:
    install(STRATEGY + check, "[nni_plugins.strategies]\ntheirs = theirs:Theirs\n")
    monkeypatch.setattr(doctor, "_start_tuner", START_TUNER)
    path = write(tmp_path / "x.yml", content("theirs"))
    known = findings(run("doctor", path, "--json"))
    assert known[str(path)]["state"] == "ok" and "strategies: theirs" not in known
    assert known["tuner of x.yml"]["state"] == "broken" and told in known["tuner of x.yml"]["detail"]


def test_two_plugins_of_one_name(run: Cli, install: Install, no_probes: None) -> None:
    install(STRATEGY, "[nni_plugins.strategies]\nrlnas = theirs:Theirs\n")
    told = "two strategies are called 'rlnas': "
    answer = run("list")
    assert answer.status == 2 and told in answer.err and "theirs:Theirs (theirs)" in answer.err
    known = findings(run("doctor", "--json"))
    assert known["strategies"]["state"] == "broken" and told in known["strategies"]["detail"]
    assert known["evaluators"]["state"] == "ok"


def test_an_entry_point_of_another_name(run: Cli, install: Install) -> None:
    install(STRATEGY, "[nni_plugins.strategies]\nours = theirs:Theirs\n")
    (entry,) = [one for name, one in run("list", "--json").json["strategies"].items() if name == "ours"]
    assert "strategy 'ours' calls itself 'Theirs'" in entry["problem"]


# -- show --------------------------------------------------------------------------------------------------------------
def test_show(run: Cli, tmp_path: Path) -> None:
    value = run("show", CELL, "--space-argument", "nodes=3", "--picture", tmp_path / "cell.png", "--json").json
    assert value["architecture"] == CELL and value["paths"] == 1 and value["parameters"] > 0 and value["macs"] > 0
    with Image.open(tmp_path / "cell.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 200
    assert f"{value['parameters']:,}" in run("show", CELL, "--space-argument", "nodes=3").out
    assert (
        run(
            "show",
            '{"e_0_1": "nor_conv_3x3", "e_0_2": "skip_connect", "e_1_2": "none"}',
            "--space-argument",
            "nodes=3",
            "--json",
        ).json["architecture"]
        == CELL
    )


def test_show_what_export_takes(run: Cli, finished: Path, tmp_path: Path) -> None:
    """JSON that names its space, a file of it, and the best of a search, with the networks that were searched."""
    (row,) = [row for row in load(finished / "result.json")["architectures"] if row["source"] == "found"]
    text = json.dumps({"schema": 1, "space": "nasbench201", "choices": row["choices"]})
    (tmp_path / "a.json").write_text(text)
    for word in (text, tmp_path / "a.json"):
        shown = run("show", word, "--space-argument", "nodes=3", "--json").json
        assert shown["architecture"] == row["architecture"] and "channels=16" in shown["space"]
    best = run("show", finished, "--json").json
    assert best["architecture"] == row["architecture"] and "channels=4" in best["space"]
    assert best["origin"]["job"] == "stand_alone-found-0-1" and str(finished) in run("show", finished).out
    table = run("show", finished).out
    assert f"{best['origin']['strategy']}: " in table and "found" in table and "random" in table
    drawn = run("show", finished, "--job", "random", "--json").json
    assert drawn["origin"]["group"] == "random"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["|nor_conv_3x3~0|"], "error: "),
        (['{"e_0_1": 3'], "error: "),
        (["|nor_conv_3x3~0|+|skip_conect~0|none~1|", "--space-argument", "nodes=3"], "skip_connect"),
        ([CELL], "error: "),
        ([CELL, "--space", "nasbench21"], "unknown space 'nasbench21'; did you mean 'nasbench201' or"),
        ([CELL, "--space-argument", "nodes=1"], "nodes"),
    ],
)
def test_show_what_is_none(run: Cli, words: list[str], message: str) -> None:
    status, out, err = run("show", *words)
    assert status == 2 and err.startswith("error: ") and message in err and out == ""


# -- doctor ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def no_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without OpenMMLab's packages, and the processes that see whether plugins import torch: both take seconds."""
    monkeypatch.setattr(doctor, "_mmlab", list)
    monkeypatch.setattr(doctor, "plugins_with_torch", lambda plugins: [])
    monkeypatch.setattr(doctor, "_start_tuner", lambda experiment: None)


def findings(answer: Answer) -> dict[str, dict[str, str]]:
    return {finding["subject"]: finding for finding in answer.json}


def test_doctor(run: Cli, config: Path) -> None:
    run("register")
    with socket.socket() as probe:
        probe.bind(("", 0))
        probe.listen()
        port = probe.getsockname()[1]
        busy = run("doctor", config, "--port", port, "--json")
    known = findings(busy)
    assert (
        busy.status == 2
        and known[f"port {port}"]["state"] == "broken"
        and "another --port" in known[f"port {port}"]["remedy"]
    )
    assert known[str(config)] == {
        "subject": str(config),
        "state": "ok",
        "detail": "a valid experiment for tuner RLNAS, 3 trials",
        "remedy": "",
    }
    assert known["evaluations.stand_alone"]["state"] == "ok"
    free = run("doctor", config, "--port", port)
    assert free.status == 0, free.out
    assert f"port {port}" in free.out and "nnictl" in free.out
    assert all(known[name]["state"] == "ok" for name in ("python", "torch", "nni", "nnictl", "spaces", "tuner RLNAS"))
    assert not [subject for subject in known if "tuner of" in subject], "ours need no torch"


def test_doctor_looks_for_the_images(run: Cli, tmp_path: Path, no_probes: None) -> None:
    value = content(evaluations={"mine": stand_alone()})
    value["tuner"]["classArgs"]["data"] = {"source": "folder", "path": str(tmp_path / "photos")}
    config = write(tmp_path / "x.yml", value)
    known = findings(run("doctor", config, "--json"))
    assert known["data.path"]["state"] == "missing" and known[str(config)]["state"] == "ok"
    assert "evaluations.mine" not in known, "nothing is known of images that are elsewhere"
    (tmp_path / "photos").mkdir()
    known = findings(run("doctor", config, "--json"))
    assert known["data.path"]["state"] == "ok" and known["evaluations.mine"]["state"] == "broken"
    assert "photos" in known["evaluations.mine"]["detail"]


def test_doctor_looks_for_back_ends(run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_probes: None) -> None:
    """Even where the images are elsewhere."""

    def prepare(self: EvaluatorPlugin, names: Sequence[str] = ()) -> None:
        raise MissingBackend("timm is not installed.", 'Install it: pip install "nni-plugins[timm]"')

    monkeypatch.setattr(StandAlonePlugin, "prepare", prepare)
    config = write(tmp_path / "x.yml", content(data={"source": "folder", "path": "/nowhere"}))
    answer = run("doctor", config, "--json")
    found = findings(answer)["evaluations.stand_alone"]
    assert answer.status == 2 and found["state"] == "broken" and found["detail"] == "timm is not installed."
    assert "pip install" in found["remedy"]


def test_doctor_on_a_broken_file(run: Cli, tmp_path: Path, no_probes: None) -> None:
    run("register")
    value = content()
    value["tuner"]["classArgs"]["fond"] = 3
    path = write(tmp_path / "x.yml", value)
    answer = run("doctor", path, "--json")
    assert answer.status == 2 and "fond: no such key; did you mean 'found'" in findings(answer)[str(path)]["detail"]


def test_doctor_on_files_of_other_tuners(run: Cli, tmp_path: Path, no_probes: None) -> None:
    example = Path(__file__).resolve().parents[2] / "examples" / "nao_nasbench201_table.yml"
    known = findings(run("doctor", example, "--json"))
    assert known[str(example)]["detail"] == "a valid experiment for tuner NAO, which serves any trial command"
    for preset, told in (("compare_digits_table", "Compare"), ("rank_study_digits", "RankStudy")):
        (tmp_path / "x.yml").write_text(render_preset(preset))
        detail = findings(run("doctor", tmp_path / "x.yml", "--json"))[str(tmp_path / "x.yml")]["detail"]
        assert detail.startswith(f"a valid experiment for tuner {told}, ")


def test_doctor_on_openmmlabs_packages(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from nni_plugins.evaluators.mmlab import installation

    monkeypatch.setattr(doctor, "plugins_with_torch", lambda plugins: [])

    def check(name: str) -> None:
        if name in ("mmcv", "mmdet"):
            raise installation.WrongBuild(f"{name}: operators of another torch.", "Type: something")

    monkeypatch.setattr(installation, "check", check)
    monkeypatch.setattr(installation, "installed", lambda name: None if name == "mmdet" else f"onedl-{name} 2.3.6")
    known = findings(run("doctor", "--json"))
    assert known["mmcv"]["state"] == "broken" and known["mmcv"]["detail"] == "mmcv: operators of another torch."
    assert known["mmdet"]["state"] == "missing" and known["mmdet"]["detail"] == "optional, not installed"
    assert all(known[name]["remedy"].endswith("install-mmlab") for name in ("mmcv", "mmdet"))
    assert known["mmseg"] == {"subject": "mmseg", "state": "ok", "detail": "onedl-mmseg 2.3.6", "remedy": ""}
    monkeypatch.setattr(installation, "check", lambda *names: None)
    monkeypatch.setattr(installation, "compiled", lambda: "operators for torch 2.11.0 and the CPU only")
    assert (
        findings(run("doctor", "--json"))["mmcv"]["detail"]
        == "onedl-mmcv 2.3.6, operators for torch 2.11.0 and the CPU only"
    )


# -- search ------------------------------------------------------------------------------------------------------------
def test_a_finished_search(finished: Path) -> None:
    result = load(finished / "result.json")
    assert set(result) == {
        "schema", "strategy", "settings", "score", "searches", "architectures", "evaluations", "kendall_tau", "architectures_in_table",
        "failed", "versions",
    }  # fmt: skip
    assert result["schema"] == 2 and result["strategy"] == "RLNAS" and result["failed"] == []
    rows = {row["evaluations"]["stand_alone"]["job"]: row for row in result["architectures"]}
    assert set(rows) == {"stand_alone-found-0-1", "stand_alone-random-1"}
    for row in rows.values():
        one = row["evaluations"]["stand_alone"]
        assert row["score"] >= 0 and 0 <= one["value"] <= 100 and one["status"] == "done" and row["true_rank"] is None
    (search,) = result["searches"]
    assert search["seed"] == 0 and len(search["result"]["initial_sha256"]) == 64 and "torch" in result["versions"]
    with Image.open(finished / "best.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 200
        picture.load()
    assert "RLNAS on nasbench201" in (finished / "report" / "report.html").read_text()


def test_again_trains_nothing(run: Cli, config: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load(finished / "result.json")

    def refuse(*arguments: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(SearchExperiment, "run", refuse)
    (finished / "result.json").unlink()
    answer = run("search", config, "--output", finished)
    assert answer.status == 0 and load(finished / "result.json") == before
    assert "RLNAS: the best by the validation of stand_alone first" in answer.out
    assert "stand_alone, accuracy: mean of found " in answer.out
    assert f"report: {finished / 'report' / 'report.html'}" in answer.out


def test_an_interrupted_search_continues(
    run: Cli, config: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in a stand-alone training: the search is not run again, and the result is that of a run in one go."""
    train, repeated = StandAlonePlugin.evaluate, []

    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(StandAlonePlugin, "evaluate", interrupt)
    answer = run("search", config, "--output", tmp_path / "run")
    assert answer.status == 130 and "run the same command again to continue" in answer.err
    monkeypatch.setattr(StandAlonePlugin, "evaluate", train)
    monkeypatch.setattr(searches, "run_search", lambda *arguments: repeated.append(arguments))
    result = run("search", config, "--output", tmp_path / "run", "--json").json
    assert without_times(result) == without_times(load(finished / "result.json")) and repeated == []


def without_times(value: Any) -> Any:
    """``value`` without the seconds that things took."""
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key != "seconds"}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def test_a_changed_configuration_is_refused(run: Cli, finished: Path, tmp_path: Path) -> None:
    before = load(finished / "result.json")
    changed = write(tmp_path / "x.yml", content(training={"epochs": 3, "accelerator": "cpu"}))
    status, _, err = run("search", changed, "--output", finished)
    assert status == 2 and "was made with other settings: training.epochs: 2 -> 3." in err
    assert "choose another folder" in err and load(finished / "result.json") == before


def test_processes_are_handed_on(run: Cli, config: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}

    def run_experiment(*arguments: Any, **options: Any) -> Any:
        given.update(options)
        return load(finished / "result.json")

    monkeypatch.setattr("nni_plugins.experiment.runner.run_experiment", run_experiment)
    assert run("search", config, "--output", finished, "--processes", 3).status == 0 and given == {"processes": 3}
    assert run("search", config, "--processes", 0).status == 2


def test_random_search(run: Cli, tmp_path: Path) -> None:
    config = write(tmp_path / "x.yml", content("randomsearch"))
    result = run("search", config, "--output", tmp_path / "run", "--json").json
    assert result["strategy"] == "RandomSearch" and [row["source"] for row in result["architectures"]] == ["random"]
    assert result["searches"] == [] and (tmp_path / "run" / "best.png").exists()


@pytest.mark.parametrize(
    ("preset", "command"),
    [("compare_digits_table", "compare"), ("sample_study_digits", "sample-study"), ("rank_study_digits", "rank-study")],
)
def test_experiments_of_other_commands(run: Cli, tmp_path: Path, preset: str, command: str) -> None:
    (tmp_path / "x.yml").write_text(render_preset(preset))
    status, _, err = run("search", tmp_path / "x.yml", "--output", tmp_path / "run")
    assert status == 2 and f"Run it: nni-plugins {command} {tmp_path / 'x.yml'}" in err
    assert not (tmp_path / "run").exists()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty images without labels."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(40):
        Image.new("RGB", (8, 8), (6 * i, 0, 255 - 6 * i)).save(folder / f"{i:02}.png")
    return folder


def test_a_folder_without_labels(run: Cli, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"source": "folder", "path": str(photos), "image_size": 8}
    with monkeypatch.context() as patch:
        patch.setattr(RLNASPlugin, "search", lambda *arguments: pytest.fail("a supernet is trained"))
        status, _, err = run("search", write(tmp_path / "x.yml", content(data=data)), "--output", tmp_path / "no")
    assert status == 2 and "evaluations.stand_alone would fail after the search: " in err
    assert "these images have no labels" in err and "Leave the evaluation out" in err
    config = write(tmp_path / "y.yml", content(data=data, evaluations={}, random=0, found=3))
    answer = run("search", config, "--output", tmp_path / "run")
    assert answer.status == 0 and "RLNAS: the largest angle first" in answer.out
    assert "Nothing was evaluated (evaluations: {})." in answer.out and "mean of" not in answer.out
    rows = load(tmp_path / "run" / "result.json")["architectures"]
    scores = [row["score"] for row in rows]
    assert (
        [row["source"] for row in rows] == ["found"] * 3 and scores == sorted(scores, reverse=True) and scores[-1] > 0
    )
    with Image.open(tmp_path / "run" / "best.png") as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"source": "folder", "path": "/nowhere"}}, "/nowhere: no such folder"),
        (
            {
                "data": {"source": "digits", "limit": 2},
                "training": {"epochs": 1, "batch_size": 2, "devices": 2},
            },
            "at least 2 images for each device",
        ),
        ({"objective": {"name": "random_labels", "clases": 3}}, "unexpected keyword argument 'clases'"),
        ({"limits": {"max_parameters": 100}}, "limits"),
    ],
)
def test_searches_that_cannot_start(run: Cli, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    value = content()
    value["tuner"]["classArgs"] |= changes
    status, _, err = run("search", write(tmp_path / "x.yml", value), "--output", tmp_path / "run")
    assert status == 2 and message in err


# -- score -------------------------------------------------------------------------------------------------------------
def test_score_agrees_with_the_search(run: Cli, config: Path, finished: Path) -> None:
    result = load(finished / "result.json")
    texts = [row["architecture"] for row in result["architectures"]]
    rows = run("score", config, *texts, "--supernet", finished / "search-0", "--json").json
    for row, scored in zip(result["architectures"], rows, strict=True):
        assert scored["angle"] == pytest.approx(row["score"], abs=1e-12)
        assert scored["architecture"] == row["architecture"]
        assert scored["initial_sha256"] == result["searches"][0]["result"]["initial_sha256"]
    (found,) = [row for row, source in zip(rows, result["architectures"], strict=True) if source["source"] == "found"]
    assert run("score", config, finished, "--supernet", finished / "search-0", "--json").json == [found]
    assert f"{rows[0]['angle']:.6f}" in run("score", config, texts[0], "--supernet", finished / "search-0").out


def test_score_what_is_none(run: Cli, config: Path, finished: Path, tmp_path: Path) -> None:
    status, _, err = run("score", config, CELL, "--supernet", tmp_path)
    assert status == 2 and "holds no supernet training" in err
    status, _, err = run("score", config, CELL, "|nor_conv~0|+|none~0|none~1|", "--supernet", finished / "search-0")
    assert status == 2 and "nor_conv" in err
    larger = write(
        tmp_path / "x.yml", content(space={"name": "nasbench201", "nodes": 4, "channels": 4, "cells_per_stage": 1})
    )
    four = f"{OTHER}+|none~0|none~1|skip_connect~2|"
    status, _, err = run("score", larger, four, "--supernet", finished / "search-0")
    assert status == 2 and "is a supernet of another space" in err
    status, _, err = run("score", config, "resnet18", "--supernet", finished / "search-0")
    assert status == 2 and "resnet18 is neither a published architecture nor an architecture of nasbench201" in err


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("victim", ["initial", "step"])
@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_a_hostile_checkpoint_is_refused(
    run: Cli, config: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str, form: str
) -> None:
    """With a manifest that vouches for it, as an attacker would give it."""
    folder = tmp_path / "search-0"
    shutil.copytree(finished / "search-0", folder)
    monkeypatch.chdir(tmp_path)
    files = sorted(folder.glob(f"{victim}*.pt"))
    assert files
    for path in files:
        if form == "pickle":
            path.write_bytes(pickle.dumps(Hostile(), protocol=2))
        else:
            torch.save({"model": Hostile()}, path)
        manifest = load(path.with_suffix(".json")) | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        path.with_suffix(".json").write_text(json.dumps(manifest))
    if victim == "initial":  # so that the checkpoints still belong to these initial weights
        for path in folder.glob("step-*.json"):
            path.write_text(json.dumps(load(path) | {"initial_sha256": manifest["sha256"]}))
    status, _, err = run("score", config, CELL, "--supernet", folder)
    assert status == 2 and "refused, it is not a file of plain weights" in err
    assert not (tmp_path / "pwned").exists()
    pickle.loads(pickle.dumps(Hostile()))
    assert (tmp_path / "pwned").exists(), "it would have fired"
