"""What several tests share."""

import os
import signal
from pathlib import Path

import pytest

from browser import browser  # noqa: F401  # fixture
from code_checkout import checkout, files  # noqa: F401  # fixtures
from failing_store import failing_library, outage  # noqa: F401
from slurm_cluster import slurm, slurm_of_session  # noqa: F401  # fixtures
from small_interpreters import executor, hasty, interpreters  # noqa: F401  # fixtures
from smartad.store import Store

ROOT = Path(__file__).parent.parent


def pytest_configure():
    """A shell's background jobs ignore SIGINT, and so would every process that a test interrupts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--update-goldens", action="store_true", help="accept the stages' present outputs as their goldens")


def pytest_collection_modifyitems(items):
    """In CI, what needs a real SLURM may fail once on a busy machine, and the summary names it (-ra); nothing else may."""
    for item in items:
        if os.environ.get("CI") and {"slurm", "slurm_of_session"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture
def store(tmp_path):
    """A store of the test's own."""
    return Store(tmp_path / "store").open()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real benchmark files, which are not in the repository.  Skips, saying so, where there is none."""
    folder = Path(os.environ.get("SMARTAD_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "INDEX.md").exists():
        pytest.skip(f"the real benchmark files are not here ({folder}); name their folder in SMARTAD_DATA")
    return folder
