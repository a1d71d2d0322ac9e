"""Generate text with a trained network: the text on stdout, everything else on stderr.

python scripts/generate.py --run latest --prompt "The " --length 500 --temperature 0.8
python scripts/generate.py --samples 3 --top-p 0.9 --stop "\n\n" --json
"""

import argparse
import json
import sys
from collections.abc import Iterable
from typing import Any

sys.path.insert(0, __file__.rpartition("/")[0])  # which PYTHONSAFEPATH=1 leaves out

import entry
from charrnn.utils.cli import CommandParser, option_names
from charrnn.utils.errors import RequestError
from charrnn.utils.streams import is_terminal, reconfigure, require_stdout, stdin_bytes

STDIN = "-"


def parse() -> argparse.Namespace:
    parser = CommandParser(description="Generate text with a trained network.")
    parser.add_network()
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument(
        "--prompt",
        metavar="TEXT",
        default="",
        help="start of the text (\\n: newline, \\t: tab, \\\\: backslash), - for stdin (default: random)",
    )
    prompt.add_argument("--prompt-file", metavar="FILE", help="file with the start of the text, - for stdin")
    parser.add_argument(
        "--no-prompt",
        action="store_true",
        help="print only what follows the prompt (--json has prompt and continuation apart)",
    )
    parser.add_unknown("characters of the prompt")
    parser.add_argument("--length", type=int, default=500, help="number of characters to generate (default: 500)")
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="end the text before this string, written like --prompt; may be given several times",
    )
    parser.add_argument(
        "--temperature", type=float, default=0.8, help="softmax temperature, 0 for greedy (default: 0.8)"
    )
    parser.add_argument("--top-k", type=int, metavar="K", help="keep the K most likely characters (default: all)")
    parser.add_argument(
        "--top-p", type=float, metavar="P", help="keep the fewest characters with total probability P (default: all)"
    )
    parser.add_argument(
        "--min-p", type=float, metavar="P", help="drop characters below P times the highest probability (default: none)"
    )
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="number of texts in the batch (default: 1)")
    parser.add_argument(
        "--novelty",
        action="store_true",
        help="also report the longest verbatim copy from the training text and the share of copied n-grams "
        "(not of lines), compared with held-out text",
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same text (default: 1)")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object per line: text, prompt, continuation, log-probabilities in nats, settings",
    )
    return parser.parse_args()


def read_prompt(arguments: argparse.Namespace) -> str:
    """Return the prompt from the command line, or the one in a file or stdin, which has no escapes."""
    from charrnn.data.options import unescaped
    from charrnn.utils.files import user_path

    if arguments.prompt_file is None and arguments.prompt != STDIN:
        return unescaped(arguments.prompt)

    name = arguments.prompt_file or STDIN
    data = stdin_bytes().read() if name == STDIN else user_path(name).read_bytes()
    try:
        return data.decode("utf-8-sig")  # without the byte-order mark that some editors write
    except UnicodeDecodeError as error:
        source = "stdin" if name == STDIN else name
        raise RequestError(f"the prompt in {source} is not UTF-8 (byte {error.start}); save it as UTF-8") from None


def print_stream(pieces: Iterable[list[str]], prompt: str) -> str:
    """Print the pieces of a text as they are generated, after the prompt; return them joined."""
    text: list[str] = []
    terminal = is_terminal(sys.stdout)
    sys.stdout.write(emphasized(prompt))
    for (piece,) in pieces:
        sys.stdout.write(piece)
        text.append(piece)
        if terminal:
            sys.stdout.flush()
    if terminal:
        sys.stderr.write("\n")  # puts the shell's prompt on its own line; on stdout it would be part of the text
    return "".join(text)


def print_texts(texts: list[str], prompt: str) -> None:
    """Print several texts, each after `prompt`, with a line between them on stderr."""
    for i, text in enumerate(texts):
        sys.stderr.write(f"--- {i + 1} of {len(texts)} ---\n")
        sys.stderr.flush()
        print(f"{emphasized(prompt)}{text}", flush=True)


def emphasized(prompt: str) -> str:
    """Return the prompt in bold if stdout is a terminal."""
    return f"\x1b[1m{prompt}\x1b[0m" if prompt and is_terminal(sys.stdout) else prompt


def main() -> None:
    arguments = parse()
    require_stdout()
    with option_names(arguments):
        generate(arguments)


def generate(arguments: argparse.Namespace) -> None:
    prompt = read_prompt(arguments)

    from charrnn.data.decoding import as_training_text
    from charrnn.data.options import unescaped
    from charrnn.data.splits import read_split
    from charrnn.evaluation.novelty import describe_novelty
    from charrnn.evaluation.surprisal import log_probabilities
    from charrnn.generation.generate import fit_prompt, stream_texts  # torch takes a second: not for --help
    from charrnn.generation.sampling import Sampling
    from charrnn.runs.folder import find_checkpoint, say_latest
    from charrnn.runs.load import load_network

    sampling = Sampling(arguments.temperature, arguments.top_k, arguments.top_p, arguments.min_p)
    checkpoint = find_checkpoint(arguments.run, arguments.checkpoint)
    say_latest("generate.py", arguments, checkpoint)
    network, vocabulary, data, _ = load_network(checkpoint)
    prompt = fit_prompt(as_training_text(prompt, data), vocabulary, arguments.unknown)
    if arguments.novelty:  # the training text may be missing, so read it before printing anything
        advice = "generate without --novelty"
        train = read_split(data, vocabulary, "train", advice)
        has_validation = data["validation_fraction"] or data.get("validation_path")
        held_out = read_split(data, vocabulary, "validation", advice) if has_validation else train[:0]
    options: dict[str, Any] = {
        "prompt": prompt,
        "length": arguments.length,
        "seed": arguments.seed,
        "samples": arguments.samples,
        "stop": [as_training_text(unescaped(stop), data) for stop in arguments.stop],
    }
    reconfigure(sys.stdout, encoding="utf-8", errors="replace", newline="")
    pieces = stream_texts(network, vocabulary, sampling=sampling, **options)
    shown_prompt = "" if arguments.no_prompt else prompt
    if arguments.samples == 1 and not arguments.json:
        if prompt:
            next(pieces)  # it is printed apart
        texts = [prompt + print_stream(pieces, shown_prompt)]
    else:
        texts = ["".join(text) for text in zip(*pieces, strict=True)]
        if arguments.json:
            settings = {"checkpoint": str(checkpoint), **vars(sampling), **options}
            for i, text in enumerate(texts):
                logs = log_probabilities(network, vocabulary, prompt, text)
                parts = {"text": text, "prompt": prompt, "continuation": text[len(prompt) :]}
                print(json.dumps({**parts, "log_probabilities": logs, "settings": {**settings, "sample": i}}))
        else:
            print_texts([text[len(prompt) :] for text in texts], shown_prompt)
    if arguments.novelty:
        prompt_length = len(vocabulary.encode(prompt))  # the prompt does not count as copied
        new = [vocabulary.encode(text)[prompt_length:] for text in texts]
        sys.stdout.flush()
        sys.stderr.write(f"\n{describe_novelty(new, train, held_out, vocabulary)}\n")


if __name__ == "__main__":
    entry.run_script(main)
