"""doctor: what this machine, this store and this cluster can do, and what to mend."""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rich.markup import escape

from smartad.agents import walls
from smartad.cli.console import console
from smartad.cluster import ClusterConfig
from smartad.config import load
from smartad.runner import environment
from smartad.tracking import trackio, wandb, wandb_server
from smartad.types import UserError

FULL_GB, TIGHT_GB = 1.0, 20.0
"""A store with less room than this fails, or will soon: one adapter of a 1.5B student is 0.1 to 0.3 GB."""
SKEW_S = 5.0
NETWORK = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "fuse", "cifs", "smb", "9p", "virtiofs", "afs", "panfs", "wekafs", "pvfs")
"""How the types of file systems begin that other machines may see."""


Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    level: Level
    """warn: something is missing that not everybody needs.  fail: what was asked for will not work."""
    told: str
    way_out: str = ""


def doctor_command(args: argparse.Namespace) -> int:
    """Print every finding as it is made.  1 when there is a failure."""
    from smartad.cli import doctor_engines, doctor_slurm

    if args.sandbox:
        walls.check_name(args.sandbox)
    profile = load(ClusterConfig, [args.cluster]) if args.cluster else None
    if args.signals and profile is None:
        profile = ClusterConfig(cluster="slurm")
    if args.signals and profile and profile.cluster != "slurm":
        raise UserError(f"--signals asks a SLURM cluster, and {args.cluster} is of cluster={profile.cluster}")
    sections: dict[str, Iterator[Finding]] = {
        "versions": versions(), "GPUs": gpus(), f"store {args.store}": store(args.store),
        "code that models write": sandbox(profile.sandbox if profile else "auto"),
        "trackers": trackers(args.store, args.online), "checkout": checkout()}
    if args.sandbox:
        sections[f"code that means harm, sandbox={args.sandbox}"] = payloads(args.sandbox)
    if profile is None or profile.cluster == "slurm":
        sections["SLURM"] = doctor_slurm.cluster(profile, args.store)
    if profile:
        sections["engines"] = doctor_engines.engines(profile)
        if profile.judges:
            sections["judges"] = doctor_engines.judges(profile)
        if profile.retriever:
            sections["retriever"] = doctor_engines.retriever(profile.retriever, elsewhere=profile.cluster == "slurm")
    if args.signals and profile:
        sections["signals, in a job that takes two minutes once it runs"] = doctor_slurm.signals(profile, args.store)
    levels: Counter[str] = Counter()
    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    for title, findings in sections.items():
        console().print(f"[bold]{escape(title)}[/bold]")
        for finding in findings:
            levels[finding.level] += 1
            style = styles[finding.level]
            console().print(f"  [{style}]{finding.level:<4}[/{style}]  {escape(_folded(finding.told))}", soft_wrap=True)
            if finding.way_out:
                console().print(f"        {escape(finding.way_out)}", soft_wrap=True)
    console().print(f"{levels['fail']} to mend, {levels['warn']} to know, {levels['ok']} in order")
    return 1 if levels["fail"] else 0


def _folded(text: str) -> str:
    """On a terminal, over as many lines as it needs beside the level; elsewhere a finding is a line."""
    out = console()
    lines = textwrap.wrap(text, max(20, out.width - 8), break_long_words=False, break_on_hyphens=False)
    return f"\n{' ' * 8}".join(lines) if out.is_terminal else text


def versions() -> Iterator[Finding]:
    """Python and packages against what pyproject.toml asks for."""
    try:
        declared = metadata.metadata("smartad")
    except metadata.PackageNotFoundError:
        yield Finding("warn", "smartad is not installed, so nothing says which versions it needs", "make setup, in its checkout")
        return
    python = ".".join(map(str, sys.version_info[:3]))
    good = SpecifierSet(declared["Requires-Python"]).contains(python)
    yield Finding("ok" if good else "fail", f"Python {python}; it must be {declared['Requires-Python']}",
                  "" if good else "make a virtual environment with another Python: make setup PYTHON=python3.12")
    right: dict[str, str] = {}
    for text in declared.get_all("Requires-Dist") or []:
        requirement = Requirement(text)
        optional = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        install = f"pip install '{requirement.name}{requirement.specifier}'"
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            if not optional:
                yield Finding("fail", f"{requirement.name} is not installed", install)
            continue
        if requirement.specifier.contains(version, prereleases=True):
            right[requirement.name] = version
        else:
            yield Finding("warn" if optional else "fail", f"{requirement.name} {version}; it must be {requirement.specifier}",
                          install)
    named = ", ".join(f"{name} {version}" for name, version in right.items())
    yield Finding("ok", f"{len(right)} packages as they must be: {named}")


# In a process of its own: a torch that does not fit its driver may take the process with it.
_ASK_TORCH = """
import json, torch
gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "bf16": bool(gpus) and torch.cuda.is_bf16_supported(),
                  "gpus": [f"{g.name}, {g.total_memory / 2**30:.0f} GB" for g in gpus]}))
"""


def gpus() -> Iterator[Finding]:
    """What torch sees."""
    done = subprocess.run([sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=300)
    if done.returncode:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        yield Finding("fail", f"torch cannot be used: {last}", "install it anew: rm -r .venv && make setup")
        return
    told = json.loads(done.stdout.splitlines()[-1])
    driver = Path("/proc/driver/nvidia/version").exists()
    for number, gpu in enumerate(told["gpus"]):
        yield Finding("ok", f"GPU {number}: {gpu}; torch {told['version']}, CUDA {told['cuda']}")
    if told["gpus"] and not told["bf16"]:
        yield Finding("warn", "these GPUs have no bfloat16", "larger students are trained in it; the toy student is not")
    if driver and not told["cuda"]:
        yield Finding("fail", f"there is an NVIDIA driver, but torch {told['version']} is built for the CPU",
                      "install a build with CUDA: make setup TORCH_INDEX=URL, on a fresh .venv")
    elif driver and not told["gpus"]:
        yield Finding("warn", f"there is an NVIDIA driver, but torch {told['version']} sees no GPU",
                      "is CUDA_VISIBLE_DEVICES empty, or the driver older than the CUDA of torch? nvidia-smi says")
    elif not told["gpus"]:
        yield Finding("ok", f"none here: torch {told['version']} uses the CPU, which is enough for the toy student")


def store(root: Path) -> Iterator[Finding]:
    """Room, the right to write, and what claims and records rely on."""
    root = root.absolute()
    at = next(path for path in (root, *root.parents) if path.exists())
    elsewhere = "use another folder: --store DIR, or $SMARTAD_STORE"
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=at) as scratch:
            yield Finding("ok", f"{at} can be written" + ("" if at == root else f"; {root.name} will be made in it"))
            yield from _file_system(Path(scratch))
    except OSError as error:
        yield Finding("fail", f"{at} cannot be written ({error.strerror})", elsewhere)
        return
    free_gb = shutil.disk_usage(at).free / 1e9
    told = f"{free_gb:.0f} GB free" if free_gb >= 10 else f"{free_gb:.1f} GB free"
    if free_gb >= TIGHT_GB:
        yield Finding("ok", told)
    else:
        yield Finding("fail" if free_gb < FULL_GB else "warn", told, f"make room, or {elsewhere}")


def _file_system(scratch: Path) -> Iterator[Finding]:
    """Claims are made by exclusive creation, records by rename, and a dead claim is known by its time."""
    os.close(os.open(scratch / "claim", os.O_CREAT | os.O_EXCL))
    try:
        os.close(os.open(scratch / "claim", os.O_CREAT | os.O_EXCL))
        yield Finding("fail", "its file system lets two processes create one file, so two would do the same work",
                      "NFS needs version 3 or newer; --store DIR on another file system")
    except FileExistsError:
        yield Finding("ok", "one process only can create a file")
    (scratch / "new").write_text("new")
    os.replace(scratch / "new", scratch / "claim")
    if (scratch / "claim").read_text() == "new" and not (scratch / "new").exists():
        yield Finding("ok", "a rename replaces a file in one step")
    else:
        yield Finding("fail", "a renamed file keeps its old content", "--store DIR on another file system")
    (scratch / "tick").touch()
    skew_s = (scratch / "tick").stat().st_mtime - time.time()
    yield Finding("ok" if abs(skew_s) < SKEW_S else "warn", f"its clock differs from this machine's by {abs(skew_s):.1f} s",
                  "" if abs(skew_s) < SKEW_S else "smartad goes by the file system's; times in logs will not agree. NTP mends it")


def file_system_type(path: Path) -> str:
    """``ext4``, ``nfs4``, ...; empty where the kernel does not say."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    under = [(mount[1], mount[2]) for mount in mounts if path.absolute().is_relative_to(mount[1])]
    return max(enumerate(under), key=lambda found: (len(found[1][0]), found[0]))[1][1] if under else ""


def sandbox(wanted: str = "auto") -> Iterator[Finding]:
    """Whether the wall stands that model-written code is to run behind; auto: which of them do."""
    if wanted == "none":
        yield Finding("warn", "it runs behind no wall (sandbox=none), and can do all that you can",
                      "leave sandbox out of the site profile, for the first wall that stands")
        return
    missing: dict[str, str] = {}
    for rung in walls.LADDER if wanted == "auto" else (wanted,):
        found = walls.stands(rung)
        if isinstance(found, walls.Wall):
            also = "".join(f"; not {name}: {why}" for name, why in missing.items())
            yield Finding("ok", f"it runs behind {found.about}{also}")
            return
        missing[rung] = found
    if wanted != "auto":
        yield Finding("fail", f"sandbox={wanted} does not stand here, so stages of agents refuse to run: {missing[wanted]}",
                      f"install {wanted}, also where jobs run; or leave sandbox out of the site profile, for the first wall that "
                      "stands")
        return
    for rung, why in missing.items():
        yield Finding("warn", f"no {rung}: {why}")
    yield Finding("fail", "it has no wall to run behind, so stages of agents refuse to run",
                  "apt-get install bubblewrap; or say `sandbox: none` in the site profile, to let it do what you can do")


def payloads(wall: str) -> Iterator[Finding]:
    """Run code that means harm behind a wall, unless that could do harm."""
    from smartad.agents import conformance
    from smartad.agents.executor import Interpreters

    try:
        chosen = walls.choose(wall)
    except UserError as error:
        told, _, way_out = str(error).rpartition("\n")
        yield Finding("fail", " ".join(told.split()), way_out)
        return
    try:
        for outcome in conformance.conform(lambda limits: Interpreters(limits, chosen)):
            yield Finding("fail" if outcome.fault else "ok", f"{outcome.payload}: {outcome.fault or 'held'}")
    except conformance.Refused as refused:
        yield Finding("fail", refused.why, refused.way_out)


def trackers(root: Path, online: bool) -> Iterator[Finding]:
    """Whether trackio and W&B can be used.  ``online`` asks the W&B server about the key."""
    try:
        if root.is_dir():
            trackio.check(root)
        elif importlib.util.find_spec("trackio") is None:
            raise UserError("trackio is not installed")
        yield Finding("ok", f"trackio {metadata.version('trackio')} keeps curves and scores in the store; `smartad dashboard` "
                            "shows them")
    except UserError as error:
        yield Finding("warn", str(error))
    mode = wandb_server.mode()
    if mode is None:
        yield Finding("ok", "W&B is not configured, so nothing is sent; `wandb login` changes that")
    elif mode == "offline":
        yield Finding("ok", "W&B writes files only (WANDB_MODE=offline)")
    elif not online:
        yield Finding("ok", "W&B is configured; `smartad doctor --online` asks it whether it knows the key")
    else:
        try:
            wandb.check(root)
            yield Finding("ok", f"W&B knows the key: {wandb.where(root)}")
        except UserError as error:
            yield Finding("fail", str(error))


def checkout() -> Iterator[Finding]:
    """Which code the records will name."""
    git = environment()["git"]
    if git is None:
        yield Finding("ok", "an installed package, not a git checkout: records name its version only")
    elif git["dirty"]:
        yield Finding("warn", f"commit {git['commit'][:12]} with uncommitted changes, which no record can bring back",
                      "commit them before a sweep on a cluster, or name them: --snapshot NAME")
    else:
        yield Finding("ok", f"commit {git['commit'][:12]}, nothing uncommitted")
