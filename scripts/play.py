"""Generate text with a file of scripts/export.py --format numpy. Needs only NumPy and this file.

python scripts/play.py model.npz --prompt "The " --length 500 --temperature 0.8 --seed 1
"""

import argparse
import codecs
import os
import sys
import unicodedata
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

FORMAT = 1
LEAST = {"format", "cell", "layers", "level", "characters", "unknown", "starts", "hidden_to_output", "output_bias"}


def sigmoid(x: Any) -> Any:
    return 0.5 + 0.5 * np.tanh(0.5 * x)  # equals 1 / (1 + exp(-x)), but can't overflow


def step(model: dict[str, Any], id_: int, states: list[Any]) -> Any:
    """Return the logits of the next symbol; update each layer's h_t (and c_t of an LSTM) in `states`."""
    x: Any = None
    for layer, (h, c) in enumerate(states):
        a = model[f"input_to_hidden_{layer}"][:, id_] if layer == 0 else model[f"input_to_hidden_{layer}"] @ x
        b = model[f"hidden_to_hidden_{layer}"] @ h + model[f"hidden_bias_{layer}"]
        if model["cell"] == "elman":
            h = np.tanh(a + b) if model["activation"] == "tanh" else np.maximum(a + b, 0)
        elif model["cell"] == "gru":
            (r_a, z_a, n_a), (r_b, z_b, n_b) = np.split(a + model[f"input_bias_{layer}"], 3), np.split(b, 3)
            n, z = np.tanh(n_a + sigmoid(r_a + r_b) * n_b), sigmoid(z_a + z_b)
            h = (1 - z) * n + z * h
        else:
            i, f, g, o = np.split(a + b + model[f"input_bias_{layer}"], 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        states[layer] = h, c
        x = x + h if layer and model["residual"] else h
    return model["hidden_to_output"] @ x + model["output_bias"]


def sample(logits: Any, temperature: float, uniform: float) -> int:
    """Return the id that `uniform` in [0, 1) draws from softmax(logits / temperature); at 0, the most likely id."""
    if temperature == 0:
        return int(logits.argmax())
    with np.errstate(over="ignore"):  # with a tiny temperature all but the most likely become exp(-inf) = 0
        sums = np.exp((logits.astype(np.float64) - logits.max()) / temperature).cumsum()
    return min(int(sums.searchsorted(uniform * sums[-1], side="right")), len(sums) - 1)


def generate(model: dict[str, Any], prompt: str, length: int, temperature: float, seed: int) -> str:
    """Return the prompt (by default a random character) and the text of `length` more symbols."""
    if model.get("newlines", "keep") == "lf":  # as in the text that the network learned
        prompt = prompt.replace("\r\n", "\n").replace("\r", "\n")
    if model.get("normalize", ""):
        form: Any = str(model["normalize"])
        prompt = unicodedata.normalize(form, prompt)
    generator, characters = np.random.default_rng(seed), "".join(map(chr, model["characters"]))
    prompt = prompt or characters[generator.choice(model["starts"])]
    bytewise = model["level"] == "byte"  # then a symbol is a byte, held as the character with that code
    symbols = prompt.encode("utf-8", "surrogateescape").decode("latin-1") if bytewise else prompt
    ids = [characters.find(symbol) if symbol in characters else int(model["unknown"]) for symbol in symbols]
    if -1 in ids:
        raise ValueError(f"the model does not know {symbols[ids.index(-1)]!r}; it knows {characters!r}")
    states = [(np.zeros(len(model["hidden_to_hidden_0"].T), np.float32),) * 2] * int(model["layers"])
    logits = [step(model, id_, states) for id_ in ids][-1]
    for _ in range(length):
        ids.append(sample(logits, temperature, generator.random()))
        logits = step(model, ids[-1], states)
    generated = "".join(characters[id_] for id_ in ids[len(symbols) :])
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    return prompt + (decode(generated.encode("latin-1")) if bytewise else generated)


def load(file: str) -> dict[str, Any]:
    """Return the model in a file; raise `ValueError` for a file that is missing, damaged, or something else."""
    try:
        with np.load(file) as archive:
            model = dict(archive)
    except OSError as error:
        raise ValueError(f"{file} can't be read: {error.strerror or error}") from error
    except Exception as error:  # NumPy raises many types for files of other kinds
        raise ValueError(f"{file} is not a model, or is damaged; scripts/export.py --format numpy makes one") from error
    if model.get("format", FORMAT) != FORMAT:
        raise ValueError(f"{file}: expected a model of format {FORMAT}, got {model['format']}; export it again")
    if not model.keys() >= LEAST:
        raise ValueError(f"{file} is not a model; scripts/export.py --format numpy makes one")
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate text with an exported network.")
    parser.add_argument("model", help="file written by scripts/export.py --format numpy")
    parser.add_argument("--prompt", default="", help="start of the text (default: a random character)")
    parser.add_argument("--length", type=int, default=500, help="number of characters to generate (default: 500)")
    parser.add_argument(
        "--temperature", type=float, default=0.8, help="softmax temperature, 0 for greedy (default: 0.8)"
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same text (default: 1)")
    options = vars(parser.parse_args())
    try:
        model = load(options.pop("model"))
        if not (options["length"] >= 0 and options["temperature"] >= 0):
            raise ValueError("length and temperature must be at least 0")
        text = generate(model, **options)
    except ValueError as error:
        fail(f"{error}", 2)
    except (LookupError, TypeError) as error:
        fail(f"the arrays of the model do not fit together ({error!r}); export it again", 2)
    if sys.stdout is None:
        fail("stdout is closed, but the text is printed there", 2)
    if hasattr(sys.stdout, "buffer"):
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    else:  # as in a notebook
        sys.stdout.write(text)


def complain(line: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError):  # a full disk
            sys.stderr.write(f"play.py: {line}\n")


def fail(line: str, code: int) -> NoReturn:
    complain(line)
    sys.exit(code)


def flush(stream: Any, number: int) -> OSError | None:
    """Flush a standard stream; return the error. What can't be written is dropped: the interpreter would try again."""
    try:
        if stream is not None:
            stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        return error
    return None


def run() -> NoReturn:
    """Run `main` and exit: with 1 if stdout can't be written, silently if it is a closed pipe."""
    code: Any = 0
    problem = None
    try:
        main()
    except SystemExit as stop:  # --help too
        code = stop.code
    except OSError as error:
        problem = error
    problem = flush(sys.stdout, 1) or problem
    if problem is not None and not isinstance(problem, BrokenPipeError):
        complain(f"stdout can't be written: {problem.strerror}")
    flush(sys.stderr, 2)
    sys.exit(code or int(problem is not None))


if __name__ == "__main__":
    run()
