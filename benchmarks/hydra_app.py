"""A trivial trial for hydra-submitit-launcher: the stages of one row, one after the other.  See beside_hydra.py."""

import time
from pathlib import Path

import hydra
from omegaconf import DictConfig


@hydra.main(version_base=None, config_path=None)
def main(config: DictConfig) -> None:
    """Write what each of ``config.stages`` stages of smartad's trivial sweep writes, in a folder of this trial."""
    folder = Path(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir)
    for stage in range(config.stages):
        before = [path.read_text() for path in sorted(folder.glob("stage*/said.txt"))]
        (folder / f"stage{stage}").mkdir()
        until = time.process_time() + config.cpu_s
        while time.process_time() < until:
            pass
        (folder / f"stage{stage}/said.txt").write_text(f"{len(before)} inputs\n")


if __name__ == "__main__":
    main()
