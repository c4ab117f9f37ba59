"""A small Qwen2 with random weights and a real tokenizer: everything of a run but what the student knows.

  python benchmarks/random_student.py --tokenizer FOLDER --to student [--hidden 32] [--layers 2]
"""

import argparse
import shutil
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM


def build(tokenizer: Path, to: Path, hidden: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """Write the model and its tokenizer to ``to``; the embedding has a row for each of the tokenizer's ids, and is tied."""
    words = PreTrainedTokenizerFast.from_pretrained(tokenizer)
    torch.manual_seed(seed)
    config = Qwen2Config(vocab_size=len(words), hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=layers,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32768, tie_word_embeddings=True,
                         eos_token_id=words.eos_token_id, bos_token_id=None, pad_token_id=words.pad_token_id)
    Qwen2ForCausalLM(config).save_pretrained(to)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (tokenizer / file).exists():
            shutil.copyfile(tokenizer / file, to / file)
    return to


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True, help="a folder with tokenizer.json and a chat template")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--layers", type=int, default=2)
    args = parser.parse_args()
    build(args.tokenizer, args.to, args.hidden, args.layers)
    print(f"{args.to}: {sum(f.stat().st_size for f in args.to.iterdir()) / 1e6:.0f} MB, weights and tokenizer")


if __name__ == "__main__":
    main()
