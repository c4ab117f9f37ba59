"""A store whose file system can be made to fail: failing_store.c, compiled, in the processes that a test starts."""

import errno
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True)
class Outage:
    """Whether calls on paths below ``under`` fail in processes that have ``environment``."""

    library: Path
    under: Path
    flag: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a process must be started with."""
        return {"LD_PRELOAD": str(self.library), "FAIL_UNDER": str(self.under), "FAIL_FLAG": str(self.flag)}

    def begin(self, error: int = errno.ESTALE) -> None:
        """From now on every call fails with ``error``."""
        new = self.flag.with_name(f"{self.flag.name}.new")
        new.write_text(str(error))
        new.replace(self.flag)

    def end(self) -> None:
        """All is well again."""
        self.flag.unlink()

    def failed(self) -> int:
        """How many calls have failed so far."""
        count = self.flag.with_name(f"{self.flag.name}.count")
        return count.stat().st_size if count.exists() else 0


@pytest.fixture(scope="session")
def failing_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled library."""
    if not shutil.which("cc"):
        reason = "no C compiler here: apt-get install gcc libc6-dev"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    library = tmp_path_factory.mktemp("failing") / "failing_store.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


@pytest.fixture
def outage(failing_library: Path, tmp_path: Path) -> Outage:
    """Of the fixture ``store``'s file system."""
    return Outage(failing_library, tmp_path / "store", tmp_path / "outage")
