"""Everything on a GPU, proven by one command in ten minutes: that the numbers are right, how fast they come, and how
much memory they take.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --minutes 20 --output runs/gpu --data-detection /data/bccd --data-segmentation /data/camvid
    python benchmarks/gpu.py --only memory speed.mixed
    python benchmarks/gpu.py --device cpu --quick --minutes 5        # tries the command itself, without a GPU

Writes ``gpu.json`` (machine, versions, every number with its bar and what came of it) and ``gpu.md``, the same as a
page, after every section. An error ends its check and no other. The exit status is 0 where nothing failed, else 1. What
needs more time than is left, or what this machine lacks, is "not run", with its reason.
"""

from __future__ import annotations

import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA begins; deterministic algorithms need it

import argparse
import logging
import platform
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil
import torch
from gpu_proof.correctness import ABOUT as OF_CORRECTNESS
from gpu_proof.correctness import correctness
from gpu_proof.graphs import ABOUT as OF_GRAPHS
from gpu_proof.graphs import graphs
from gpu_proof.memory import ABOUT as OF_MEMORY
from gpu_proof.memory import memory
from gpu_proof.mmlab import ABOUT as OF_MMLAB
from gpu_proof.mmlab import mmlab
from gpu_proof.page import render, summary
from gpu_proof.record import ERROR, FAIL, Given, Section
from gpu_proof.rlnas import ABOUT as OF_RLNAS
from gpu_proof.rlnas import rlnas
from gpu_proof.speed import ABOUT as OF_SPEED
from gpu_proof.speed import speed

from nni_plugins.evaluators.files import atomic_write, json_able, write_json
from nni_plugins.evaluators.versions import versions

SECTIONS: dict[str, tuple[Callable[[Section], None], str, float]] = {
    "correctness": (correctness, OF_CORRECTNESS, 0.35),
    "graphs": (graphs, OF_GRAPHS, 0.45),
    "memory": (memory, OF_MEMORY, 0.48),
    "speed": (speed, OF_SPEED, 0.75),
    "mmlab": (mmlab, OF_MMLAB, 0.85),
    "rlnas": (rlnas, OF_RLNAS, 1.0),
}
"""What each section does, and by which share of the time it ends at the latest. What one leaves over, the next has."""
PACKAGES = ("torch", "nni", "pytorch-lightning", "timm", "torchvision", "numpy", "onedl-mmcv")
SCHEMA = 1


def machine(device: str) -> dict[str, Any]:
    """What the numbers depend on, beside the versions."""
    found = {
        "device": platform.processor() or platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads of torch": torch.get_num_threads(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.platform(),
    }
    if torch.device(device).type == "cuda":
        about = torch.cuda.get_device_properties(device)
        found |= {
            "device": about.name,
            "device memory": f"{about.total_memory / 2**30:.0f} GiB",
            "compute capability": f"{about.major}.{about.minor}",
            "multiprocessors": about.multi_processor_count,
            "CUDA of torch": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
        }
    return found


def _processor() -> str:
    """Linux' own name of it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def arguments_of(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="sections, or checks: section.check")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the command")
    parser.add_argument("--data-detection", type=Path, metavar="DIR", help="as of nni-plugins transfer detection")
    parser.add_argument("--data-segmentation", type=Path, metavar="DIR", help="as of nni-plugins transfer segmentation")
    options = parser.parse_args(given)
    unknown = [name for name in options.only if name.partition(".")[0] not in SECTIONS]
    if unknown:
        parser.error(f"--only: no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        parser.error(
            f"--device {options.device}: torch finds no GPU; --device cpu --quick tries the command without one"
        )
    if options.minutes <= 0:
        parser.error("--minutes must be above 0")
    return options


def main(given: list[str]) -> int:
    options = arguments_of(given)
    began, started = time.monotonic(), datetime.now(timezone.utc)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    options.output.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "command": shlex.join(given),
        "arguments": {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()},
        "started": started.strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(options.device),
        "versions": {"python": platform.python_version(), **versions(*PACKAGES)},
        "sections": [],
    }
    chosen = {n: s for n, s in SECTIONS.items() if not options.only or n in {o.partition(".")[0] for o in options.only}}
    end = max(share for _, _, share in chosen.values())
    with tempfile.TemporaryDirectory() as scratch:
        folders = (None if d is None else str(d) for d in (options.data_detection, options.data_segmentation))
        about = Given(options.device, options.quick, Path(scratch), *folders)
        for name, (body, text, share) in chosen.items():
            print(f"{name}", flush=True)
            section = Section(name, text, about, options.only, began + 60 * options.minutes * share / end)
            section.run(body)
            result["sections"].append(section.as_dict())
            result["seconds"] = time.monotonic() - began
            write_json(options.output / "gpu.json", json_able(result))
            atomic_write(options.output / "gpu.md", render(result).encode())
    print("\n".join(["", *summary(result), "", f"{options.output / 'gpu.md'}, {options.output / 'gpu.json'}"]))
    failed = any(s["error"] or any(c["outcome"] in (FAIL, ERROR) for c in s["checks"]) for s in result["sections"])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
