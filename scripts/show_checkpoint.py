"""Show what is in a checkpoint, as a page of text or as one JSON object. Only this file is read.

python scripts/show_checkpoint.py outputs/my_run/checkpoints/last.ckpt
python scripts/show_checkpoint.py --run latest --json
"""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, __file__.rpartition("/")[0])  # which PYTHONSAFEPATH=1 leaves out

import entry
from charrnn.utils.cli import CommandParser
from charrnn.utils.errors import RequestError
from charrnn.utils.streams import reconfigure, require_stdout

# The settings that the first lines about the network show already.
DESCRIBED_SETTINGS = ("vocabulary_size", "cell", "hidden", "layers", "activation")
COMPUTATION_SETTINGS = ("kernel", "threads", "seed")
VOCABULARY_LINE_LENGTH, MAX_VOCABULARY_LINES = 80, 6
VALIDATION = "nats_per_char/val"  # the metric that selects the best checkpoint


def main() -> None:
    parser = CommandParser(description="Show what is in a checkpoint.")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="checkpoint file, or the folder of a run or sweep"
    )
    source.add_argument("--checkpoint", dest="file", metavar="PATH", help="the same as CHECKPOINT")
    source.add_argument("--run", metavar="DIR", help="run folder; shows its best checkpoint (default: latest)")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    arguments = parser.parse_args()
    require_stdout()

    from charrnn.runs.folder import find_checkpoint

    path = find_checkpoint(arguments.run, arguments.checkpoint or arguments.file)
    try:
        found = contents(path)
        shown = json.dumps(found) if arguments.json else "\n".join(f"{label:<12}{text}" for label, text in lines(found))
    except RequestError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise RequestError(f"what {path} holds does not fit together ({error!r}); use another checkpoint") from error
    reconfigure(sys.stdout, encoding="utf-8")
    print(shown)


def contents(path: Path) -> Any:
    """Return the contents of a checkpoint as plain values, without tensor data; None for what it does not have."""
    from charrnn.data.vocabulary import vocabulary_of
    from charrnn.runs import checkpoint_file
    from charrnn.runs.checkpoint_file import network_weights  # imports torch, which would slow down --help

    checkpoint = checkpoint_file.read(path)
    about = checkpoint["charrnn"]
    weights = network_weights(checkpoint)
    tensors = {
        name: {"shape": list(tensor.shape), "type": str(tensor.dtype).removeprefix("torch.")}
        for name, tensor in weights.items()
    }
    return for_json(
        {
            "path": str(path.absolute()),
            "bytes": path.stat().st_size,
            "format": about["format"],
            "lightning": checkpoint.get("pytorch-lightning_version"),
            "network": about["network"],
            "parameters": sum(tensor.numel() for tensor in weights.values()),
            "tensors": tensors,
            "vocabulary": {"size": len(vocabulary_of(about["vocabulary"])), **about["vocabulary"]},
            "resumable": {"run", "train_state", "random"} <= about.keys(),
            **training(checkpoint),
        }
    )


def training(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the progress of the run, its text and its settings."""
    about, callbacks = checkpoint["charrnn"], checkpoint.get("callbacks", {})
    speed, config, written = callbacks.get("Speed", {}), about.get("config", {}), about.get("written", {})
    groups = [group for state in checkpoint.get("optimizer_states", []) for group in state["param_groups"]]
    validated = "figures" in written and written["step"] == checkpoint["global_step"]
    return {
        "step": checkpoint.get("global_step"),
        "epoch": checkpoint.get("epoch"),
        "characters": speed.get("characters"),
        "seconds": speed.get("fit"),
        "recoveries": callbacks.get("Recovery", {}).get("used"),
        "validation_nats_per_char": written["figures"].get(VALIDATION) if validated else None,
        "best_validation_nats_per_char": callbacks.get("Checkpoints", {}).get("best"),
        "learning_rate": groups[0]["lr"] if groups else None,
        "seed": config.get("seed"),
        "kernel": about.get("run", {}).get("kernel"),
        "threads": about.get("run", {}).get("threads"),
        "data": about.get("data"),
        "config": about.get("config"),
    }


def for_json(value: Any) -> Any:
    """Return the value with tuples as lists, and with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {str(key): for_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [for_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the label and text of each line; a line with an empty label continues the previous one."""
    yield "file", printable(found["path"])
    lightning = f", written by Lightning {printable(found['lightning'])}" if found["lightning"] else ""
    yield "", f"{found['bytes']:,} bytes, format {found['format']}{lightning}"
    yield from network_lines(found["network"], found["parameters"])
    width, first = max(map(len, found["tensors"]), default=0), next(iter(found["tensors"]), "")
    for name, tensor in found["tensors"].items():
        shape = " x ".join(f"{size:,}" for size in tensor["shape"])
        yield "parameters" * (name == first), f"{printable(name):<{width}}  {shape:>15}  {tensor['type']}"
    yield from vocabulary_lines(found["vocabulary"])
    if found["config"]:
        yield from training_lines(found)
    use = "resume_from=CHECKPOINT resumes its run" if found["resumable"] else "it has no run to resume"
    yield "use", f"{use}; init_from=CHECKPOINT starts a new run with its weights"


def network_lines(network: dict[str, Any], parameters: int) -> Iterator[tuple[str, str]]:
    from charrnn.network.char_rnn import describe

    yield "network", printable(describe(network, parameters))
    if network["cell"] == "elman":
        yield "", printable(f"h_t = {network['activation']}(W_xh x_t + W_hh h_(t-1) + b_h), y_t = W_hy h_t + b_y")
    yield "", pairs({key: value for key, value in network.items() if key not in DESCRIBED_SETTINGS})


def vocabulary_lines(vocabulary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if vocabulary["level"] == "byte":
        yield "vocabulary", f"{vocabulary['size']} bytes{', of UTF-8' * vocabulary['utf8']}"
        return
    yield "vocabulary", f"{vocabulary['size']:,} characters{', U+FFFD for all others' * vocabulary['unknown']}"
    shown = vocabulary["characters"][: VOCABULARY_LINE_LENGTH * MAX_VOCABULARY_LINES]
    for start in range(0, len(shown), VOCABULARY_LINE_LENGTH):
        yield "", printable(shown[start : start + VOCABULARY_LINE_LENGTH])
    if len(shown) < vocabulary["size"]:
        yield "", f"and {vocabulary['size'] - len(shown):,} more; --json shows all"


def training_lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    config, data = found["config"], found["data"]
    limits = pairs({key: config["trainer"][key] for key in ("max_steps", "max_epochs")})
    yield "trained", f"{found['step']:,} steps ({limits}), now in epoch {found['epoch'] + 1:,}"
    if found["characters"] is not None:
        yield "", f"{found['characters']:,} characters in {found['seconds']:,.1f} s, {found['recoveries']} recoveries"
    yield "validation", f"these weights: {bits(found['validation_nats_per_char'])}, measured as in the training curve"
    yield "", f"best so far: {bits(found['best_validation_nats_per_char'])}"
    rate = "unknown" if found["learning_rate"] is None else f"{found['learning_rate']:.4g}"
    yield "optimizer", f"{constructor(config['optimizer'])}; current learning rate {rate}"
    yield "scheduler", constructor(config["scheduler"])
    yield "text", printable(", ".join(data["text"]["path"]))
    yield "", f"SHA-256 {printable(data['corpus_sha256'])}"
    splits = {"train": data["train_share"], "validation": data["validation_fraction"], "test": data["test_fraction"]}
    own = {name: ", ".join(data.get(f"{name}_path") or []) for name in splits}
    yield "", pairs({name: own[name] or f"{share:.4g}" for name, share in splits.items()})
    yield "batches", pairs({key: config["data"][key] for key in ("batch_size", "sequence_length", "order")})
    yield (
        "computed",
        pairs({"precision": config["trainer"]["precision"], **{key: found[key] for key in COMPUTATION_SETTINGS}}),
    )


def constructor(group: dict[str, Any]) -> str:
    """Return the class name and the arguments of a config group."""
    name = group["_target_"].rsplit(".", 1)[-1]
    return ", ".join([printable(name), *(pairs({key: group[key]}) for key in group if key != "_target_")])


def pairs(settings: dict[str, Any]) -> str:
    return printable(", ".join(f"{key} {value}" for key, value in settings.items()))


def bits(nats: float | None) -> str:
    return "unknown" if nats is None else f"{nats / math.log(2):.4f} bits per character ({nats:.4f} nats)"


def printable(text: str) -> str:
    """Escape the unprintable characters of a text, so that a file cannot control the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


if __name__ == "__main__":
    entry.run_script(main)
