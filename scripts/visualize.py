"""Show what the hidden units of a trained network do along a text, as an HTML page or as plots.

python scripts/visualize.py --run latest --text other.txt --out units.html
python scripts/visualize.py --run latest --split test --png plots
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, __file__.rpartition("/")[0])  # which PYTHONSAFEPATH=1 leaves out

import entry
from charrnn.utils.cli import CommandParser, file_to_write, print_error
from charrnn.utils.files import user_path
from charrnn.utils.validation import require_integer

SHOWN_CHARACTERS = 20_000  # the page reads them with a network of 512 units in a few seconds
DEFAULT_PAGE = "units.html"


def read_arguments() -> argparse.Namespace:
    parser = CommandParser(description="Show what the hidden units of a network do along a text.")
    parser.add_network()
    parser.add_text()
    parser.add_argument(
        "--out", metavar="FILE", help=f"write the page to FILE (default: {DEFAULT_PAGE}; none if only --png is given)"
    )
    parser.add_argument("--png", metavar="FOLDER", help="write the main plots as PNG files to FOLDER; needs matplotlib")
    parser.add_argument(
        "--characters",
        type=int,
        default=SHOWN_CHARACTERS,
        help=f"number of characters shown, from the beginning of the text (default: {SHOWN_CHARACTERS})",
    )
    parser.add_force()
    arguments = parser.parse_args()
    require_integer("--characters", arguments.characters)
    if arguments.out is None and arguments.png is None:
        arguments.out = DEFAULT_PAGE
    if arguments.out is not None:
        file_to_write(arguments.out, "--out", arguments.force)
    return arguments


def main() -> None:
    arguments = read_arguments()

    from charrnn.analysis.summary import diagnose
    from charrnn.analysis.text_features import features_of
    from charrnn.analysis.units import max_symbols, read_states
    from charrnn.data.splits import named_text
    from charrnn.runs.folder import find_checkpoint, say_latest
    from charrnn.runs.load import load_network
    from charrnn.utils.files import write_text
    from charrnn.visualization.page.page import max_shown_symbols, page, unit_facts

    if arguments.png is not None:
        from charrnn.visualization.figure import new_figure
        from charrnn.visualization.unit_plots import draw_unit_plots

        new_figure(1, 1)  # raises now if matplotlib is missing, and not only after the text was read
    checkpoint = find_checkpoint(arguments.run, arguments.checkpoint)
    say_latest("visualize.py", arguments, checkpoint)
    loaded = load_network(checkpoint)
    network, vocabulary, data, _ = loaded
    text = named_text(data, vocabulary, arguments.text, arguments.split, arguments.encoding, arguments.unknown)
    ids = text.ids
    if text.note:
        print_error("visualize.py", text.note)
    read = ids[: max_symbols(network)]
    states_UN = read_states(network, read)
    features_FN = features_of(read, vocabulary)
    shown = read[: min(arguments.characters, max_shown_symbols(network))]
    if arguments.png is not None:
        for plot in draw_unit_plots(user_path(arguments.png), states_UN, features_FN, network, shown, vocabulary):
            print(plot)
    if arguments.out is not None:
        facts: dict[str, Any] = {
            "text": text.name,
            "checkpoint": str(Path(*checkpoint.absolute().parts[-3:])),
            "about": [
                ["shown", coverage(len(shown), len(read))],
                ["correlations over", coverage(len(read), len(ids))],
                *([name, f"{count:,} unknown characters"] for name, count in text.unknown() if count),
            ],
        }
        if (diagnostics := diagnose(network, ids)) is not None:
            facts["diagnostics"] = diagnostics
        file = user_path(arguments.out)
        units = unit_facts(states_UN, features_FN, network, text.name)
        write_text(file, page(loaded, shown, units, facts, tab="units"))
        print(file)


def coverage(count: int, total: int) -> str:
    return f"the first {count:,} of {total:,} symbols" if count < total else f"{total:,} symbols"


if __name__ == "__main__":
    entry.run_script(main)
