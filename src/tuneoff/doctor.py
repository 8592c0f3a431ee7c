"""What this machine can run: each check says what it found, and what to do where something lacks.

for check in checks():
    print(check.name, check.status, check.found, check.remedy)
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tuneoff import __version__

GB = 1e9
_LEAST_DISK_GB = 2.0
_PARTS = ("transformers", "peft", "datasets", "scipy", "matplotlib", "jinja2")


@dataclass(frozen=True)
class Check:
    """`ok`; `limited`: works, with something lacking; `broken`: tuneoff cannot run as it is."""

    name: str
    status: Literal["ok", "limited", "broken"]
    found: str
    remedy: str = ""


def checks() -> Iterator[Check]:
    """Every check, one after the other: some take seconds."""
    yield _python()
    for check in (_torch, _gpu, _processor, _memory, _four_bit, _libraries, _backbone, _hub):
        yield _guarded(check)
    yield _disk()
    yield from _folders()


def _guarded(check: Callable[[], Check]) -> Check:
    """A check that fails in a way that nobody foresaw is itself a finding."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - broken installations fail in any way there is
        name = check.__name__.strip("_").replace("_", "-")
        reason = str(error).splitlines()[0] if str(error) else ""
        return Check(name, "broken", f"{type(error).__name__}: {reason}", "reinstall tuneoff")


def _python() -> Check:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check("python", "ok", f"tuneoff {__version__}, {found}")


def _torch() -> Check:
    import torch

    return Check("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _gpu() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check(
            "gpu",
            "limited",
            "no CUDA device: training runs on the CPU",
            "for large backbones use a machine with an NVIDIA GPU and a CUDA build of torch",
        )
    free, total = torch.cuda.mem_get_info()
    bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
    found = f"{torch.cuda.get_device_name()}, {free / GB:.1f} of {total / GB:.1f} GB free, {bf16}"
    busy = total - free > 0.5 * GB
    if busy:
        return Check("gpu", "limited", found, "another program uses it: costs will be off")
    return Check("gpu", "ok", found)


def _processor() -> Check:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    level = torch.backends.cpu.get_cpu_capability()
    return Check("processor", "ok", f"{cores} cores, {level}")


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.available / GB:.1f} of {memory.total / GB:.1f} GB free"
    if memory.available < 2 * GB:
        return Check("memory", "limited", found, "close other programs; tuneoff wants about 2 GB")
    return Check("memory", "ok", found)


def _four_bit() -> Check:
    """Really runs a small nf4 layer forward and backward, as QLoRA needs it."""
    remedy = "qlora and quantized backbones need it: pip install --upgrade bitsandbytes"
    try:
        import bitsandbytes
        import torch
    except (ImportError, OSError) as error:
        return Check("4-bit", "limited", f"bitsandbytes does not load: {error}", remedy)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layer = bitsandbytes.nn.Linear4bit(
        64, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4"
    )
    weight = layer.weight.data.clone()
    x = torch.ones(2, 64, device=device, requires_grad=True)
    try:
        layer = layer.to(device)
        y = layer(x)
        y.sum().backward()
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        return Check("4-bit", "limited", f"fails on {device}: {error}", remedy)
    exact = x.detach() @ weight.to(device).T
    off = float((y.detach() - exact).norm() / exact.norm())
    version = bitsandbytes.__version__
    if off > 0.3 or x.grad is None:
        return Check("4-bit", "limited", f"bitsandbytes {version} is {off:.0%} off", remedy)
    return Check("4-bit", "ok", f"bitsandbytes {version} runs nf4 on {device}")


def _libraries() -> Check:
    versions, missing = [], []
    for name in _PARTS:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        found = f"missing: {', '.join(missing)}"
        return Check("libraries", "broken", found, f"pip install {' '.join(missing)}")
    return Check("libraries", "ok", ", ".join(versions))


def _backbone() -> Check:
    from tuneoff.backbones.names import builtin_names, folder_of

    whole = [
        name
        for name in builtin_names()
        if (folder := folder_of(name)) and (folder / "model.safetensors").is_file()
    ]
    if not whole:
        return Check("built-in", "broken", "no built-in backbone", "reinstall tuneoff")
    return Check("built-in", "ok", f"backbones {', '.join(whole)}")


def _hub() -> Check:
    """Looks at settings and the cache only: nothing is sent anywhere."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = sorted(one.repo_id for one in scan_cache_dir().repos)
    except CacheNotFound:
        repositories = []
    shown = ", ".join(repositories[:5]) + (", ..." if len(repositories) > 5 else "")
    cached = f"{len(repositories)} cached" + (f" ({shown})" if shown else "")
    if constants.HF_HUB_OFFLINE:
        return Check("hub", "ok", f"offline (HF_HUB_OFFLINE), {cached}")
    return Check("hub", "ok", f"used only when a study names a hub model or dataset; {cached}")


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / GB
    found = f"{free:.1f} GB free here"
    if free < _LEAST_DISK_GB:
        return Check("disk", "limited", found, f"free some: tuneoff wants {_LEAST_DISK_GB:g} GB")
    return Check("disk", "ok", found)


def _folders() -> Iterator[Check]:
    from tuneoff.data.cache import cache_folder

    remedy = "set TUNEOFF_CACHE to a folder that can be written"
    yield _writable("results", Path.cwd(), "go to a folder that can be written, or use --out")
    yield _writable("cache", cache_folder(), remedy)


def _writable(name: str, folder: Path, remedy: str) -> Check:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(name, "broken", f"{folder}: {error.strerror}", remedy)
    return Check(name, "ok", f"{folder} can be written")


def fails(found: list[Check]) -> bool:
    """Whether anything stands in the way of running at all."""
    return any(check.status == "broken" for check in found)
