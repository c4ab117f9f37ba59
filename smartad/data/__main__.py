"""``python -m smartad.data FOLDER``: write the id lists anew from the raw files in FOLDER, which must be the pinned ones."""

import sys
from pathlib import Path

from smartad import benchmarks
from smartad.data import ids
from smartad.data.files import pinned


def main(data: Path, folder: Path) -> None:
    """A list for every benchmark that has a file."""
    for name in benchmarks.names():
        module = benchmarks.get(name)
        if module.SOURCE is not None:
            print(ids.write(name, module.load(pinned(module.SOURCE, None, data)), folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(benchmarks.__file__).parent / ids.FOLDER)
