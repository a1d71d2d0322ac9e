"""What do the hidden units of a trained network do? A page to look at them, with the text in their colors.

python scripts/visualize.py --run latest --text other.txt --out units.html
python scripts/visualize.py --run latest --split test --png pictures
"""

import argparse
from pathlib import Path
from typing import Any

import entry
from charrnn.utils.cli import CommandParser
from charrnn.utils.files import user_path
from charrnn.utils.validation import require_integer

CHARACTERS = 20_000  # shown; with 64 units in full a page of less than 4 MB
PAGE = "units.html"


def read_arguments() -> argparse.Namespace:
    parser = CommandParser(description="Show what the hidden units of a network do along a text.")
    parser.add_network()
    parser.add_text()
    parser.add_argument("--out", metavar="FILE", help=f"where the page goes ({PAGE}; with --png alone there is none)")
    parser.add_argument("--png", metavar="FOLDER", help="write the main pictures as PNG; needs matplotlib")
    parser.add_argument(
        "--characters", type=int, default=CHARACTERS, help=f"how many of the text the page shows ({CHARACTERS})"
    )
    arguments = parser.parse_args()
    require_integer("--characters", arguments.characters)
    if arguments.out is None and arguments.png is None:
        arguments.out = PAGE
    if arguments.out is not None and user_path(arguments.out).is_dir():
        parser.error(f"--out needs the name of a file, {arguments.out} is a folder")
    return arguments


def main() -> None:
    arguments = read_arguments()

    from charrnn.analysis.summary import diagnose
    from charrnn.analysis.text_features import features_of
    from charrnn.analysis.units import max_symbols, read_states
    from charrnn.data.splits import named_text
    from charrnn.runs.folder import find_checkpoint
    from charrnn.runs.load import load_network
    from charrnn.utils.files import write_text
    from charrnn.visualization.pages.unit_page import page

    if arguments.png is not None:
        from charrnn.visualization.figure import new_figure
        from charrnn.visualization.unit_plots import draw_unit_plots

        new_figure(1, 1)  # refused without matplotlib, before the text is read, which takes seconds
    checkpoint = find_checkpoint(arguments.run, arguments.checkpoint)
    network, vocabulary, data, _ = load_network(checkpoint)
    name, ids = named_text(data, vocabulary, arguments.text, arguments.split, arguments.encoding)
    read = ids[: max_symbols(network)]
    states_UN = read_states(network, read)
    features_FN = features_of(read, vocabulary)
    shown = read[: arguments.characters]
    if arguments.png is not None:
        for picture in draw_unit_plots(user_path(arguments.png), states_UN, features_FN, network, shown, vocabulary):
            print(picture)
    if arguments.out is not None:
        facts: dict[str, Any] = {
            "text": name,
            "measured": len(read),
            "about": [
                ["network", network.description],
                ["checkpoint", str(Path(*checkpoint.absolute().parts[-3:]))],
                ["shown", amount(len(shown), len(read))],
                ["correlations over", amount(len(read), len(ids))],
            ],
        }
        if (diagnostics := diagnose(network, ids)) is not None:
            facts["diagnostics"] = diagnostics
        file = user_path(arguments.out)
        write_text(file, page(states_UN, features_FN, network, shown, vocabulary, facts))
        print(file)


def amount(part: int, whole: int) -> str:
    return f"the first {part:,} of {whole:,} symbols" if part < whole else f"{whole:,} symbols"


if __name__ == "__main__":
    entry.run_script(main)
