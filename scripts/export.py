"""Export a trained network to a file for other programs: NumPy, ONNX, or an HTML page.

python scripts/export.py --format html --run latest
python scripts/export.py --format numpy --run latest --out model.npz    # scripts/play.py generates text with it
"""

from pathlib import Path
from typing import Any

import entry
from charrnn.utils.cli import CommandParser
from charrnn.utils.errors import RequestError

SUFFIXES = {"numpy": ".npz", "onnx": ".onnx", "html": ".html"}


def main() -> None:
    parser = CommandParser(description="Export a trained network to a file for other programs.")
    parser.add_argument("--format", choices=tuple(SUFFIXES), required=True, help="file format (required)")
    parser.add_network()
    parser.add_argument(
        "--out", metavar="FILE", help="file to write (default: ./best.html, named after the checkpoint)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    arguments = parser.parse_args()

    from charrnn.export.arrays import to_numpy
    from charrnn.export.onnx_graph import to_onnx
    from charrnn.export.page import to_html  # imports torch, which takes a second: too slow for --help
    from charrnn.runs.folder import find_checkpoint
    from charrnn.runs.load import load_network
    from charrnn.utils.files import atomic_write, user_path

    checkpoint = find_checkpoint(arguments.run, arguments.checkpoint)
    out = user_path(arguments.out or checkpoint.stem + SUFFIXES[arguments.format])
    if out.is_dir():
        raise RequestError(f"{out} is a folder; choose a file with --out")
    if out.exists() and not arguments.force:
        raise RequestError(f"{out} already exists; choose another file with --out, or overwrite it with --force")
    loaded = load_network(checkpoint)
    convert = {"numpy": to_numpy, "onnx": to_onnx, "html": to_html}[arguments.format]
    content = convert(loaded.network, loaded.vocabulary, {**facts(checkpoint), **reading(loaded.data)})
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


def reading(data: dict[str, Any]) -> dict[str, str]:
    """Return how the text was read that a network learned; players treat a prompt in the same way."""
    text = data.get("text", {})
    normalize = text.get("normalize", "none")
    return {"newlines": text.get("newlines", "keep"), "normalize": "" if normalize == "none" else normalize.upper()}


if __name__ == "__main__":
    entry.run_script(main)
