"""``transformers serve`` with the command line of ``vllm serve``: MODEL --host H --port P --served-model-name NAME.

A real server of a real model, for a machine that vLLM does not run on.  It knows models by what is in the hub's cache, so MODEL
is put into a cache of its own as NAME.  Flags of vLLM that it has not (for adapters) are passed over.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path


def cached(model: Path, name: str, cache: Path) -> None:
    """``model`` in the hub's ``cache`` as its revision main."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "snapshots").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).symlink_to(model, target_is_directory=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    for name in ("--host", "--port", "--served-model-name"):
        parser.add_argument(name)
    args, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="smartad-served-") as cache:
        os.environ |= {"HF_HUB_CACHE": cache, "HF_HUB_OFFLINE": "1"}
        cached(args.model.absolute(), args.served_model_name, Path(cache))

        from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config
        from transformers.cli.transformers import main as transformers

        # The toy student is a Qwen2 with a tokenizer of its own (decision 006).
        AutoTokenizer.register(Qwen2Config, fast_tokenizer_class=PreTrainedTokenizerFast, exist_ok=True)
        sys.argv = ["transformers", "serve", args.served_model_name, "--host", args.host, "--port", args.port, "--device", "cpu",
                    "--dtype", "float32"]
        transformers()


if __name__ == "__main__":
    main()
