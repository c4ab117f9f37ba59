"""``transformers serve`` with the command line of ``vllm serve``: MODEL --host H --port P --served-model-name NAME.

A real server of a real model, for a machine that vLLM does not run on.  It knows models by what is in the hub's cache, so MODEL
is put into a cache of its own as NAME.  Flags of vLLM that it has not (for adapters) are passed over.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

REVISION = "0" * 40


def cached(model: Path, name: str, cache: Path) -> None:
    """``model`` in the hub's ``cache`` as its revision main."""
    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(model, repository / "snapshots" / REVISION)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    # Without this it is greedy at any temperature.
    options = repository / "snapshots" / REVISION / "generation_config.json"
    options.write_text(json.dumps({**json.loads(options.read_text()), "do_sample": True}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    for name in ("--host", "--port", "--served-model-name"):
        parser.add_argument(name)
    args, _ = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server hands the signal on when it has ended
    with tempfile.TemporaryDirectory(prefix="smartad-served-") as cache:
        os.environ |= {"HF_HUB_CACHE": cache, "HF_HUB_OFFLINE": "1"}
        cached(args.model, args.served_model_name, Path(cache))

        from transformers import AutoTokenizer, PreTrainedTokenizerFast
        from transformers.cli.transformers import main as transformers

        # The toy student is a Qwen2 with a tokenizer of its own (decision 006).
        AutoTokenizer.from_pretrained = PreTrainedTokenizerFast.from_pretrained
        sys.argv = ["transformers", "serve", args.served_model_name, "--host", args.host, "--port", args.port, "--device", "cpu",
                    "--dtype", "float32"]
        transformers()


if __name__ == "__main__":
    main()
