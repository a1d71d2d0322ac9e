"""Measure how well a trained network predicts a text; prints one JSON object on stdout.

python scripts/evaluate.py --run latest --text other.txt
python scripts/evaluate.py --run latest --split test --protocol windows --window 64
python scripts/evaluate.py --run latest --surprisal surprisal.html
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, __file__.rpartition("/")[0])  # which PYTHONSAFEPATH=1 leaves out

import entry
from charrnn.utils.cli import CommandParser, file_to_write, option_names, print_error
from charrnn.utils.files import display_path, user_path
from charrnn.utils.streams import reconfigure, require_stdout
from charrnn.utils.validation import require_number

if TYPE_CHECKING:  # these import torch, which takes a second: too slow for --help
    from charrnn.data.vocabulary import Ids
    from charrnn.evaluation.scoring import Score
    from charrnn.runs.load import LoadedNetwork

WINDOW = 64


def read_arguments() -> argparse.Namespace:
    parser = CommandParser(description="Score a text, or a split of the run's own text.")
    parser.add_network()
    parser.add_text()
    parser.add_argument(
        "--protocol",
        choices=("carried", "windows"),
        default="carried",
        help="carry the state through the whole text, or score windows from a zero state (default: carried)",
    )
    parser.add_argument("--window", type=int, help=f"characters per window of --protocol windows (default: {WINDOW})")
    parser.add_argument(
        "--dynamic",
        type=float,
        metavar="RATE",
        help="dynamic evaluation: a copy of the network keeps learning at this rate (try 0.1; default: off)",
    )
    parser.add_argument(
        "--surprisal",
        metavar="FILE",
        help="write an HTML page that shows each character, colored by its bits, and the most likely ones instead "
        "(it has the network, and scores other texts too); "
        "- prints the colored text (pipe it to less -R) and the most surprising places, "
        "with the JSON as the last line of stdout",
    )
    parser.add_force()
    arguments = parser.parse_args()
    check(parser, arguments)
    if arguments.protocol == "windows" and arguments.window is None:
        arguments.window = WINDOW
    return arguments


def check(parser: CommandParser, arguments: argparse.Namespace) -> None:
    carried = arguments.protocol == "carried"
    if carried and arguments.window is not None:
        parser.error("--window needs --protocol windows")
    if not carried and arguments.dynamic is not None:
        parser.error("--dynamic needs --protocol carried")
    if arguments.dynamic is not None:
        require_number("--dynamic", arguments.dynamic, 0.0)
    if arguments.surprisal is None:
        return
    if arguments.dynamic is not None:
        parser.error("--surprisal can't show dynamic evaluation; remove --dynamic")
    if arguments.surprisal != "-":
        file_to_write(arguments.surprisal, "--surprisal", arguments.force)


def main() -> None:
    arguments = read_arguments()
    if arguments.surprisal in (None, "-"):
        require_stdout()
    with option_names(arguments):
        evaluate(arguments)


def evaluate(arguments: argparse.Namespace) -> None:
    from charrnn.data.splits import named_text
    from charrnn.evaluation.scoring import carried_lanes, per_character, score_carried, score_dynamic, score_windows
    from charrnn.runs.folder import find_checkpoint, json_text
    from charrnn.runs.load import load_network

    checkpoint = find_checkpoint(arguments.run, arguments.checkpoint)
    loaded = load_network(checkpoint)
    network, vocabulary, data, _ = loaded
    text = named_text(data, vocabulary, arguments.text, arguments.split, arguments.encoding, arguments.unknown)
    ids = text.ids
    if text.note:
        print_error("evaluate.py", text.note)
    if arguments.dynamic is not None:
        symbols, lanes = score_dynamic(network, ids, arguments.dynamic), 1
    elif arguments.window is not None:
        symbols, lanes = score_windows(network, ids, arguments.window), None
    else:
        symbols, lanes = score_carried(network, ids), carried_lanes(len(ids))
    score = per_character(symbols, vocabulary, ids)
    result = {
        "nats_per_char": score.nats_per_char,
        "bits_per_char": score.bits_per_char,
        "bits_per_byte": score.bits_per_byte,
        "perplexity": score.perplexity,
        "characters": score.characters,
        "protocol": arguments.protocol if arguments.dynamic is None else f"carried, dynamic {arguments.dynamic:g}",
        "lanes": lanes,
        "window": arguments.window,
        **dict(text.unknown()),
        "checkpoint": display_path(checkpoint),  # which run `latest` was
    }
    if arguments.surprisal is not None:
        scored = ids[: symbols.characters + 1]
        show_surprisal(arguments, loaded, scored, facts(text.name, checkpoint, score, result))
    print(json_text(result))


def facts(name: str, checkpoint: Path, score: "Score", result: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that the page shows about the text and its score."""
    how = f"in {result['lanes']} lanes" if (result["lanes"] or 1) > 1 else "from the first character to the last"
    return {
        "text": name,
        "metrics": [
            ["bits per character", f"{score.bits_per_char:.4f}"],
            ["perplexity", f"{score.perplexity:.3f}"],
            ["characters", f"{score.characters:,}"],
        ],
        "checkpoint": str(Path(*checkpoint.absolute().parts[-3:])),
        "about": [
            ["state", f"from zero every {result['window']}" if result["window"] else f"carried {how}"],
        ],
    }


def show_surprisal(arguments: argparse.Namespace, loaded: "LoadedNetwork", ids: "Ids", facts: dict[str, Any]) -> None:
    """Write the page, or print the colored text; of a long text, only its start."""
    from charrnn.evaluation.scoring import Score, per_character
    from charrnn.evaluation.surprisal import surprisals
    from charrnn.utils.files import write_text
    from charrnn.visualization.page.page import max_shown_symbols, measure_units, page
    from charrnn.visualization.terminal_text import terminal_text

    network, vocabulary = loaded.network, loaded.vocabulary
    # It ends within the first lane of a long text, which starts from a zero state too: the bits are the scored ones.
    shown, note = ids[: max_shown_symbols(network) + 1], ""
    surprisal = surprisals(network, shown, arguments.window)
    if len(shown) < len(ids):
        score = per_character(Score(surprisal.nats, len(shown) - 1), vocabulary, shown)
        whole = dict(facts["metrics"])["characters"]
        start = f"the first {score.characters:,} of {whole} characters"
        note = f"Only {start} are shown; they cost {score.bits_per_char:.4f} bits per character."
        sys.stderr.write(f"evaluate.py: --surprisal shows {start}\n")
    if arguments.surprisal == "-":
        reconfigure(sys.stdout, encoding="utf-8", newline="")
        print(terminal_text(surprisal, shown, vocabulary))
    else:
        units = measure_units(network, vocabulary, shown, facts["text"])
        content = page(loaded, shown, units, {**facts, "note": note}, tab="score", window=arguments.window)
        write_text(user_path(arguments.surprisal), content)


if __name__ == "__main__":
    entry.run_script(main)
