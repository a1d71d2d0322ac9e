"""Write a trained network as a file for other programs: NumPy, ONNX, or a page for the browser.

python scripts/export.py --format html --run latest
python scripts/export.py --format numpy --run latest --out model.npz    # scripts/play.py writes text with it
"""

from pathlib import Path

import entry
from charrnn.utils.cli import CommandParser
from charrnn.utils.errors import RequestError

SUFFIXES = {"numpy": ".npz", "onnx": ".onnx", "html": ".html"}


def main() -> None:
    parser = CommandParser(description="Write a trained network as a file for other programs.")
    parser.add_argument("--format", choices=tuple(SUFFIXES), required=True, help="what it is for")
    parser.add_network()
    parser.add_argument("--out", metavar="FILE", help="the file to write (best.html and the like, in this folder)")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    arguments = parser.parse_args()

    from charrnn.export.arrays import to_numpy
    from charrnn.export.onnx_graph import to_onnx
    from charrnn.export.page import to_html  # torch takes a second: --help need not wait
    from charrnn.runs.folder import find_checkpoint
    from charrnn.runs.load import load_network
    from charrnn.utils.files import atomic_write, user_path

    checkpoint = find_checkpoint(arguments.run, arguments.checkpoint)
    out = user_path(arguments.out or checkpoint.stem + SUFFIXES[arguments.format])
    if out.is_dir():
        raise RequestError(f"{out} is a folder; name a file with --out")
    if out.exists() and not arguments.force:
        raise RequestError(f"{out} is there already; name another file with --out, or write over it with --force")
    loaded = load_network(checkpoint)
    convert = {"numpy": to_numpy, "onnx": to_onnx, "html": to_html}[arguments.format]
    content = convert(loaded.network, loaded.vocabulary, facts(checkpoint))
    with atomic_write(out) as file:
        file.write(content)
    print(f"{out}: {len(content):,} bytes")


def facts(checkpoint: Path) -> dict[str, str | float]:
    """What the checkpoint's run says of it, where it lies in a run's folder."""
    from charrnn.runs.folder import read_summary

    run = checkpoint.resolve().parent.parent
    bits = read_summary(run).get("val_bits_per_char")
    if checkpoint.name != "best.ckpt" or bits is None:  # the summary's figures are those of the best one
        return {"checkpoint": checkpoint.name}
    return {"checkpoint": f"{run.name}/{checkpoint.name}", "val_bits_per_char": bits}


if __name__ == "__main__":
    entry.run_script(main)
