"""Export a trained network to a file for other programs: NumPy, ONNX, or an HTML page that shows what it computes.

The page contains the weights and the first 2,000 characters of the run's validation split.

python scripts/export.py --format html --run latest
python scripts/export.py --format numpy --run latest --out model.npz    # scripts/play.py generates text with it
"""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, __file__.rpartition("/")[0])  # which PYTHONSAFEPATH=1 leaves out

import entry
from charrnn.utils.cli import CommandParser, file_to_write
from charrnn.utils.errors import RequestError

if TYPE_CHECKING:
    from charrnn.data.vocabulary import Ids
    from charrnn.runs.load import LoadedNetwork

SUFFIXES = {"numpy": ".npz", "onnx": ".onnx", "html": ".html"}


def main() -> None:
    parser = CommandParser(
        description="Export a trained network to a file for other programs, or an HTML page of what it computes. "
        "The page contains the first 2,000 characters of the run's validation split."
    )
    parser.add_argument("--format", choices=tuple(SUFFIXES), required=True, help="file format (required)")
    parser.add_network()
    parser.add_argument(
        "--out", metavar="FILE", help="file to write (default: ./best.html, named after the checkpoint)"
    )
    parser.add_force()
    arguments = parser.parse_args()

    from charrnn.export.arrays import reading_of, to_numpy  # imports torch, which takes a second: too slow for --help
    from charrnn.export.onnx_graph import to_onnx
    from charrnn.runs.folder import find_checkpoint, say_latest
    from charrnn.runs.load import load_network
    from charrnn.utils.files import atomic_write

    checkpoint = find_checkpoint(arguments.run, arguments.checkpoint)
    say_latest("export.py", arguments, checkpoint)
    out = file_to_write(arguments.out or checkpoint.stem + SUFFIXES[arguments.format], "--out", arguments.force)
    loaded = load_network(checkpoint)
    known = facts(checkpoint)
    if arguments.format == "html":
        content = to_html(loaded, known)
    else:
        convert = {"numpy": to_numpy, "onnx": to_onnx}[arguments.format]
        content = convert(loaded.network, loaded.vocabulary, {**known, **reading_of(loaded.data)})
    with atomic_write(out) as file:
        file.write(content)
    print(f"{out}: {len(content):,} bytes")


def facts(checkpoint: Path) -> dict[str, str | float]:
    """Return the checkpoint's name and, for the best one of a run, its validation score."""
    from charrnn.runs.folder import read_summary

    run = checkpoint.resolve().parent.parent
    bits = read_summary(run).get("val_bits_per_char")
    if checkpoint.name != "best.ckpt" or bits is None:  # the summary holds the scores of best.ckpt only
        return {"checkpoint": checkpoint.name}
    return {"checkpoint": f"{run.name}/{checkpoint.name}", "val_bits_per_char": bits}


def to_html(loaded: "LoadedNetwork", facts: dict[str, str | float]) -> bytes:
    """Return the page of a network, open on the beginning of the run's validation split."""
    from charrnn.visualization.page.page import OPENING_SYMBOLS, measure_units, page

    name, ids = opening_text(loaded)
    units = measure_units(loaded.network, loaded.vocabulary, ids, name)
    return page(loaded, ids[:OPENING_SYMBOLS], units, {**facts, "text": name}).encode("utf-8")


def opening_text(loaded: "LoadedNetwork") -> "tuple[str, Ids]":
    """Return the validation split and its name, or where it is missing a text that the network writes itself."""
    from charrnn.data.splits import named_text
    from charrnn.generation.generate import generate_text
    from charrnn.visualization.page.page import OPENING_SYMBOLS

    if loaded.data:
        with contextlib.suppress(RequestError):  # for example, the text is gone; the page needs only the weights
            name, ids, *_ = named_text(loaded.data, loaded.vocabulary, None, None, None)
            return name, ids
    written = generate_text(loaded.network, loaded.vocabulary, length=OPENING_SYMBOLS)
    return "written by the network itself", loaded.vocabulary.encode(written)


if __name__ == "__main__":
    entry.run_script(main)
