"""Write text with a trained network: the text on stdout, everything else on stderr.

python scripts/generate.py --run latest --prompt "The " --length 500 --temperature 0.8
"""

import sys

try:
    from charrnn.errors import CommandParser, exit_codes
except ModuleNotFoundError:
    sys.stderr.write("generate.py: charrnn is not installed; run scripts/train.sh, or source .venv/bin/activate\n")
    sys.exit(2)


def main() -> None:
    parser = CommandParser(description="Write text with a trained network.")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--run", metavar="DIR", help="a run folder, or latest (the default): its best checkpoint")
    source.add_argument("--checkpoint", metavar="PATH", help="a checkpoint file")
    parser.add_argument("--prompt", default="", help="how the text begins; without one, with a random character")
    parser.add_argument("--length", type=int, default=500, help="characters to add (500)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 takes the likeliest character (0.8)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed writes the same text (1)")
    arguments = parser.parse_args()

    from charrnn.generation import stream_text  # torch takes a second: --help need not wait
    from charrnn.network import load_network
    from charrnn.runs import find_checkpoint

    network, vocabulary, _ = load_network(find_checkpoint(arguments.run, arguments.checkpoint))
    sys.stdout.reconfigure(encoding="utf-8", errors="replace", newline="")  # type: ignore[union-attr]
    for characters in stream_text(
        network,
        vocabulary,
        prompt=arguments.prompt,
        length=arguments.length,
        temperature=arguments.temperature,
        seed=arguments.seed,
    ):
        sys.stdout.write(characters)
        if sys.stdout.isatty():
            sys.stdout.flush()
    if sys.stdout.isatty():
        sys.stderr.write("\n")  # the shell's prompt on a line of its own; not part of the text


if __name__ == "__main__":
    with exit_codes("generate.py"):
        main()
