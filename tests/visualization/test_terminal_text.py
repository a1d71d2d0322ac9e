import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from charrnn.data.vocabulary import Vocabulary
from charrnn.evaluation.surprisal import Surprisal
from charrnn.network import CharRNN
from charrnn.visualization.terminal_text import STYLES, terminal_text
from conftest import TEXT, call, save_network

LINES = "one line\n\ttwo  lines\r\ncafe\u0301\n"


def test_the_terminal_shows_one_color_per_bit_and_none_across_lines() -> None:
    vocabulary = Vocabulary("ab\n ")
    bits = np.array([0.9, 1.0, 8.5, 2.5, 0.0, 30.0])  # of all characters but the first
    sequence = vocabulary.encode("abb\n\nb ")
    shown = terminal_text(Surprisal(bits, np.zeros((6, 1), int), np.ones((6, 1))), sequence, vocabulary)
    scale, rest = shown.split("\n\n", 1)
    text, again, places = rest.rsplit("\n\n", 2)
    on = [f"\x1b[{style}m" for style in STYLES]
    assert places == f"most surprising:\n 30.0 bits  {'abb↵↵b':>24}{on[7]} \x1b[0m\n"
    assert scale == again and scale.startswith("bits  0 \x1b[")
    assert [scale.count(color) for color in on] == [1] * len(STYLES)
    assert text == f"ab{on[0]}b\x1b[0m{on[7]}↵\x1b[0m\n{on[1]}↵\x1b[0m\nb{on[7]} \x1b[0m"
    for line in shown.split("\n"):
        assert line.count("\x1b[") == 2 * line.count("\x1b[0m")


def test_evaluate_colors_the_terminal_and_ends_with_the_json(
    make_network: Callable[..., CharRNN], tmp_path: Path
) -> None:
    vocabulary = Vocabulary(LINES)
    save_network(make_network(len(vocabulary)), vocabulary, tmp_path / "a.ckpt", data={"text": {**TEXT, "path": ["x"]}})
    (tmp_path / "lines.txt").write_bytes((LINES * 20).encode())
    asked = ("--checkpoint", tmp_path / "a.ckpt", "--text", tmp_path / "lines.txt")
    plain = call("scripts/evaluate.py", *asked)
    code, out, err = call("scripts/evaluate.py", *asked, "--surprisal", "-")
    assert (code, err) == (0, "")
    assert out.endswith("\n" + plain[1])
    bare = re.sub("\x1b\\[[0-9;]*m", "", out).replace("↵", "").split("\n\n", 1)[1]
    assert bare.startswith("one line")
    assert bare.count("\n") == 20 * LINES.count("\n") + 4 + 3 + 5


def test_the_most_surprising_places_have_their_context_and_keep_a_distance() -> None:
    vocabulary = Vocabulary("abcdefghijklmnopqrstuvwxyz\nQ")
    ids = vocabulary.encode("abcdefghijklmnopqrstuvwxyz\n" * 20)
    bits = np.arange(len(ids) - 1) / 1000
    for place in (30, 31, 200, 400):
        bits[place - 1] = 9 + place / 100
    shown = terminal_text(Surprisal(bits, np.zeros((len(bits), 1), int), np.ones((len(bits), 1))), ids, vocabulary)
    title, *places, end = re.sub("\x1b\\[[0-9;]*m", "", shown).rpartition("\n\n")[2].split("\n")
    assert (title, len(places), end) == ("most surprising:", 5, "")
    found = [float(line[:5]) for line in places]
    assert found == [13.0, 11.0, 9.3, 0.5, 0.5]  # not 30, which is next to 31
    assert places[2] == "  9.3 bits  hijklmnopqrstuvwxyz↵abcdefghijklmnopqrstuvwxyz↵ab"


def test_wrong_requests() -> None:
    for asked, message in (
        (("--dynamic", "0.1", "--surprisal", "page.html"), "remove --dynamic"),
        (("--surprisal", "."), ". is a folder; choose a file with --surprisal"),
    ):
        code, out, err = call("scripts/evaluate.py", *asked)
        assert (code, out) == (2, "")
        assert message in err
