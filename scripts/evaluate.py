"""How well does a trained network predict a text? One JSON object on stdout.

python scripts/evaluate.py --run latest --text other.txt
python scripts/evaluate.py --run latest --split test --protocol windows --window 64
"""

import dataclasses
import sys

try:
    from charrnn.errors import CommandParser, exit_codes
except ModuleNotFoundError:
    sys.stderr.write("evaluate.py: charrnn is not installed; run scripts/train.sh, or source .venv/bin/activate\n")
    sys.exit(2)


def main() -> None:
    parser = CommandParser(description="Score a text, or a part of the run's own text.")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--run", metavar="DIR", help="a run folder, or latest (the default): its best checkpoint")
    source.add_argument("--checkpoint", metavar="PATH", help="a checkpoint file")
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--text", metavar="FILE", help="the text to score")
    text.add_argument("--split", choices=("train", "validation", "test"), help="a part of the run's text (validation)")
    parser.add_argument("--encoding", help="of --text, as data.encoding (that of the training text)")
    parser.add_argument(
        "--protocol",
        choices=("carried", "windows"),
        default="carried",
        help="state carried through the whole text (default), or windows from a zero state",
    )
    parser.add_argument("--window", type=int, help="characters per window (64), with --protocol windows")
    parser.add_argument(
        "--dynamic",
        type=float,
        metavar="RATE",
        help="let a copy go on learning from the text while it is scored (0.1 is a good rate); carried, one lane",
    )
    arguments = parser.parse_args()
    carried = arguments.protocol == "carried"
    if carried and arguments.window is not None:
        parser.error("--window goes with --protocol windows")
    if not carried and arguments.dynamic is not None:
        parser.error("--dynamic goes with --protocol carried")
    window = 64 if arguments.window is None else arguments.window

    from charrnn.corpus import read_corpus
    from charrnn.evaluation import carried_lanes, in_text, score_carried, score_dynamic, score_windows
    from charrnn.network import load_network
    from charrnn.runs import find_checkpoint, json_text
    from charrnn.text_options import options_of

    checkpoint = find_checkpoint(arguments.run, arguments.checkpoint)
    network, vocabulary, about = load_network(checkpoint)
    if arguments.text is not None:
        options = options_of(about.get("data", {}))
        encoding = arguments.encoding or options.encoding
        options = dataclasses.replace(options, path=arguments.text, sha256=None, encoding=encoding)
        ids = read_corpus(options, vocabulary=vocabulary).ids
    else:
        from charrnn.data import read_part  # brings Lightning, which takes seconds

        ids = read_part(about.get("data", {}), vocabulary, arguments.split or "validation")
    if arguments.dynamic is not None:
        score = score_dynamic(network, ids, arguments.dynamic)
    else:
        score = score_carried(network, ids) if carried else score_windows(network, ids, window)
    score = in_text(score, vocabulary, ids)
    result = {
        "nats_per_char": score.nats_per_char,
        "bits_per_char": score.bits_per_char,
        "bits_per_byte": score.bits_per_byte,
        "perplexity": score.perplexity,
        "characters": score.characters,
        "protocol": arguments.protocol if arguments.dynamic is None else f"carried, dynamic {arguments.dynamic:g}",
        "lanes": None if not carried else carried_lanes(len(ids)) if arguments.dynamic is None else 1,
        "window": None if carried else window,
    }
    print(json_text(result))


if __name__ == "__main__":
    with exit_codes("evaluate.py"):
        main()
