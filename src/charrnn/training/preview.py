"""A preview of a run before it starts: statistics of its text, baselines, and the time of a step."""

import copy
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from charrnn.data.batches import read_sequences
from charrnn.data.datamodule import CharDataModule
from charrnn.evaluation.baselines import baseline_scores
from charrnn.network import CharRNN
from charrnn.network.cuda_graph import GraphedLoss
from charrnn.training.config_checks import PRECISIONS
from charrnn.utils.screen import HARD_SPACE, report
from charrnn.utils.validation import SPLITS

MAX_LISTED = 10  # in each list: files, frequent symbols, rare symbols
MANY_SYMBOLS = 512  # few writing systems need more
TIMED_STEPS = 7


def report_text(data: CharDataModule, *, symbols: bool) -> dict[str, float]:
    """Report what the text consists of; return the baseline scores of its validation split, if it has one.

    `symbols` asks for the most frequent and the rarest symbols too.
    """
    corpus, vocabulary = data.corpus, data.vocabulary
    splits = ", ".join(f"{split}{HARD_SPACE}{int(data.counts[split].sum()):,}" for split in SPLITS)
    unit = "bytes" if vocabulary.level == "byte" else "characters"
    different = int(np.count_nonzero(corpus.counts))
    sizes = f"{len(corpus.ids):,} {unit}, {different:,} symbols; {splits}"
    report("text", f"{corpus.name}: {sizes}", new_group=True)
    if len(corpus.files) > 1:
        listed = [f"{name} ({size:,}{HARD_SPACE}bytes)" for name, size in corpus.files[:MAX_LISTED]]
        report("files", f"{len(corpus.files)}: {', '.join(listed)}" + ", ..." * (len(corpus.files) > MAX_LISTED))
    if symbols:
        _report_symbols(data)
    _report_hints(data)
    if not len(data.validation_ids):
        return {}
    baselines = baseline_scores(data.train_ids, data.validation_ids, vocabulary)
    scores = ", ".join(f"{name}{HARD_SPACE}{bits:.3f}" for name, bits in baselines.items())
    report("baselines", f"{scores} bits per character")
    return baselines


def _report_symbols(data: CharDataModule) -> None:
    vocabulary, counts = data.vocabulary, np.array(data.corpus.counts)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]

    def symbols_with_counts(ids: np.ndarray) -> str:
        names = (repr(vocabulary.decode([i])) if vocabulary.level == "char" else f"{i:#04x}" for i in ids)
        pairs = (f"{name} {counts[i]:,}".replace(" ", HARD_SPACE) for name, i in zip(names, ids, strict=True))
        return " ".join(pairs)

    report("frequent", symbols_with_counts(order[:MAX_LISTED]))
    if len(order) > MAX_LISTED:
        report("rare", symbols_with_counts(order[MAX_LISTED:][::-1][:MAX_LISTED]))


def _report_hints(data: CharDataModule) -> None:
    vocabulary = data.vocabulary
    if vocabulary.level == "char" and len(vocabulary) > MANY_SYMBOLS:
        report("hint", "many symbols: data.min_count=5 merges the rare ones, data.level=byte has only 256")
    if vocabulary.unknown is not None:
        replaced = data.corpus.counts[vocabulary.unknown]
        report("unknown", f"{replaced:,} characters were replaced by the unknown symbol")
    if vocabulary.level == "char" and "\r" in vocabulary.characters:
        report("hint", "the text has carriage returns (Windows line endings): data.newlines=lf converts them")
    for split in SPLITS[1:]:
        new = (data.counts["train"] == 0) & (data.counts[split] > 0)
        if new.any():
            count, times = int(new.sum()), data.counts[split][new].sum()
            symbols = "1 symbol" if count == 1 else f"{count} symbols"
            report("hint", f"the {split} split has {symbols} that training lacks; number of occurrences: {times:,}")


def seconds_per_step(
    network: CharRNN,
    data: CharDataModule,
    lanes: int,
    make_optimizer: Callable[[list[nn.Parameter]], Optimizer],
    device: torch.device,
    precision: str,
    *,
    cuda_graph: bool,
) -> float:
    """Return the median time of a training step. It uses a copy of the network and leaves the RNG states unchanged."""
    dtype = PRECISIONS[precision]
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        network = copy.deepcopy(network).to(device, dtype if precision.endswith("true") else None)
        compute_loss = GraphedLoss(network) if cuda_graph else network.loss
        optimizer = make_optimizer(list(network.parameters()))
        starts_B = np.arange(lanes, dtype=np.int64) * data.sequence_length
        seconds = []
        for _ in range(1 + TIMED_STEPS):  # the first is a warm-up: it allocates memory, compiles and records
            start = time.perf_counter()
            inputs_TB, targets_TB, *_ = read_sequences(data.train_ids, starts_B, data.sequence_length, starts=True)
            with torch.autocast(device.type, dtype, enabled=precision.endswith("mixed")):
                loss, _ = compute_loss(inputs_TB.to(device), targets_TB.to(device), network.initial_state(lanes))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            loss.item()  # waits for a GPU to finish
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
