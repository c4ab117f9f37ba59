"""Walls: code that means harm is run behind each, and a wall with a hole is found out.

What is tried behind a wall that makes no namespace of its own is in one besides (``enclosed``).
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from enclosed import bwrap, enclosed
from smartad.agents import walls
from smartad.agents.conformance import Refused, conform
from smartad.agents.executor import Interpreters
from smartad.agents.payloads import PAYLOADS
from smartad.cluster import ClusterConfig, Job, connect
from smartad.config import load
from smartad.stage import Runtime
from smartad.store import Store
from smartad.tracking import Tracking
from smartad.types import UserError

TRY = """
import json, sys
from smartad.agents import walls
from smartad.agents.conformance import conform
from smartad.agents.executor import Interpreters
from smartad.agents.payloads import PAYLOADS
wall, names = json.loads(sys.argv[1]), sys.argv[2:]
if isinstance(wall, dict):
    wall = walls.Wall(readable=tuple(walls.readable()) if wall.pop("landlock") else None, **wall)
for outcome in conform(lambda limits: Interpreters(limits, wall), [p for p in PAYLOADS if not names or p.name in names]):
    print(json.dumps([outcome.payload, outcome.fault]))
"""


def faults(wall, *names):
    said = [json.loads(line) for line in enclosed(TRY, json.dumps(wall), *names).splitlines()]
    assert [name for name, _ in said] == [p.name for p in PAYLOADS if not names or p.name in names]
    return {name: fault for name, fault in said if fault}


@pytest.mark.slow
def test_bubblewrap_holds_against_every_payload():
    bwrap()
    outcomes = list(conform(lambda limits: Interpreters(limits, "bubblewrap")))
    assert [outcome.payload for outcome in outcomes] == [payload.name for payload in PAYLOADS]
    assert {outcome.payload: outcome.fault for outcome in outcomes if outcome.fault} == {}


@pytest.mark.slow
def test_landlock_holds_against_every_payload():
    assert faults("landlock") == {}


@pytest.mark.slow
@pytest.mark.parametrize(("wall", "holes"), [
    # Without Landlock: files.  Without the filter: what is no file.
    ({"landlock": False, "filtered": True}, {"/etc/passwd", "parent's environment", "sympify", "numpy and a file"}),
    ({"landlock": True, "filtered": False}, {"sockets", "others' memory", "daemonise"}),
])
def test_wall_with_a_hole_is_found_out(wall, holes):
    assert faults({"name": "half", "about": "half a wall", **wall}, *holes).keys() == holes


@pytest.mark.slow
def test_payloads_are_refused_outside_of_a_namespace():
    bwrap()
    with pytest.raises(Refused, match="machine's own user namespace.*no payload is run.*bwrap --unshare-all") as refused:
        next(conform(lambda limits: Interpreters(limits, "none")))
    assert ("not as root, and inside a user namespace of its own" in refused.value.way_out) == (os.geteuid() == 0)


def test_landlock_is_taken_where_namespaces_are_forbidden():
    said = enclosed("from smartad.agents import walls; print(walls.choose().name); print(walls.stands('bubblewrap'))")
    name, _, why = said.partition("\n")
    assert name == "landlock" and why.startswith("it does not work: ") and "user.max_user_namespaces" in why


@pytest.fixture
def nothing_stands(monkeypatch):
    """A machine on which no wall stands."""
    monkeypatch.setattr(walls.landlock, "abi", lambda: 0)
    monkeypatch.setenv("PATH", "")
    walls.stands.cache_clear()
    yield
    walls.stands.cache_clear()


@pytest.mark.parametrize(("name", "told"), [
    ("auto", ["bwrap is not installed", "apptainer is not installed", "kernel has no Landlock", "apt-get install bubblewrap",
              "`sandbox: none` in the site profile"]),
    ("bubblewrap", ["sandbox=bubblewrap", "bwrap is not installed"]),
])
def test_without_a_wall_code_is_refused_with_what_is_missing_and_the_way_out(nothing_stands, name, told):
    with pytest.raises(UserError) as refused:
        walls.choose(name)
    assert all(words in str(refused.value) for words in told)


def test_without_a_wall_is_only_what_asks_for_it_by_name(nothing_stands):
    assert walls.choose("none").name == "none"


def test_unknown_wall_is_refused_with_those_there_are():
    with pytest.raises(UserError, match="sandbox=bwrap: there is no such wall; there are auto, bubblewrap, .*, none"):
        walls.choose("bwrap")


def test_wall_that_shows_files_is_not_taken(tmp_path, monkeypatch):
    # It runs what it is given, behind nothing.
    leaky = tmp_path / "bwrap"
    leaky.write_text('#!/bin/sh\nwhile [ "$1" != "/" -o "$2" = "--chdir" ]; do shift; done; shift; exec "$@"\n')
    leaky.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    walls.stands.cache_clear()
    found = walls.stands("bubblewrap")
    walls.stands.cache_clear()
    assert isinstance(found, str) and "shows files that it must hide" in found


def test_bubblewrap_shows_nothing_writable_and_drops_root_first():
    paths = ["/usr", "/opt/python/lib"]
    wall = walls.bubblewrap_command("/usr/bin/bwrap", paths, root=False)
    assert {"--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"} <= set(wall)
    assert wall[wall.index("--cap-drop") + 1] == "ALL" and wall[-4:] == ["--remount-ro", "/", "--chdir", "/"]
    assert not {"--bind", "--tmpfs", "--proc", "--dev"} & set(wall)
    as_root = walls.bubblewrap_command("/usr/bin/bwrap", paths, root=True)
    assert as_root[-len(wall):] == wall and "--reuid=65534" in as_root[:-len(wall)]


def test_bubblewrap_stands_wherever_what_it_shows_lies():
    # Not even a /tmp: a checkout and its packages need not lie below one.
    system = [path for path in walls.SYSTEM if os.path.exists(path)]
    wall = walls.bubblewrap_command(bwrap(), system, root=os.geteuid() == 0)
    told = subprocess.run([*wall, "/usr/bin/env", "ls", "/"], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    assert set(told.stdout.split()) == {path.split("/")[1] for path in system}


def test_apptainer_shows_what_python_needs_read_only_and_nothing_of_the_machine():
    command = walls.apptainer_command("apptainer", ["/usr", "/dev/null"], "/tmp/image")
    at = command.index("/tmp/image")
    assert command[at - 2:at] == ["--bind", "/usr:/usr:ro"] and "/dev/null:/dev/null:ro" not in command
    assert command[at + 1:at + 3] == ["/usr/bin/env", "-i"], "what the image has not, and --containall takes away"
    told = subprocess.run([*command[at + 1:], "/usr/bin/env"], capture_output=True, text=True, env={"KEY": "1"}, check=True)
    assert dict(line.split("=", 1) for line in told.stdout.splitlines()) == walls.environment()
    assert {"--containall", "--no-home", "--userns"} <= set(command)


def test_site_profile_names_the_wall(tmp_path):
    job = Job(Store(tmp_path), Runtime(), Tracking(tmp_path))
    assert connect(load(ClusterConfig, ["sandbox=landlock"]), job, 0).job.runtime.sandbox == "landlock"
    assert connect(ClusterConfig(), job, 0).job.runtime.sandbox == "auto"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's interpreters become another user")
def test_packages_that_the_user_of_the_code_cannot_reach_are_warned_of(monkeypatch, tmp_path, caplog):
    (closed := tmp_path / "closed").mkdir(mode=0o700)
    (closed / "site-packages").mkdir()
    monkeypatch.setattr(walls, "packages", lambda: [str(closed / "site-packages"), "."])
    monkeypatch.setattr(walls, "python", lambda: "/usr/bin/env")
    monkeypatch.setattr(walls.sysconfig, "get_path", lambda name: "/usr/lib")
    monkeypatch.setattr(walls.sys, "base_prefix", "/usr")
    walls.choose("none")
    assert f"who cannot enter {closed}, where {closed}/site-packages is; install bubblewrap" in caplog.text
    closed.chmod(0o711)
    assert f"{closed}, where" not in walls._out_of_reach()


def test_wall_shows_no_folder_of_the_user(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    shown = [Path(path) for path in walls.readable()]
    assert not any(tmp_path.is_relative_to(path) or path.is_relative_to(tmp_path) for path in shown)
    assert not any(Path.cwd() == path or Path.home() == path for path in shown)
