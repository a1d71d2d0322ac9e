"""What a run will read and what it will cost, before it begins: the text, reference figures, the time of an epoch."""

import copy
import logging
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
from charrnn.training.config_checks import PRECISIONS
from charrnn.utils.validation import SPLITS

log = logging.getLogger(__name__)

LISTED = 10  # files, frequent symbols, rare ones
MANY_SYMBOLS = 512  # more is surprising for most scripts
TIMED_STEPS = 3


def report_text(data: CharDataModule) -> dict[str, float]:
    """Say what the text is made of; return the reference figures of its validation part, if it has one."""
    corpus, vocabulary = data.corpus, data.vocabulary
    if len(corpus.files) > 1:
        listed = [f"{name} ({size:,} bytes)" for name, size in corpus.files[:LISTED]]
        log.info("files     %d: %s", len(corpus.files), ", ".join(listed) + ", ..." * (len(corpus.files) > LISTED))
    parts = ", ".join(f"{part} {int(data.counts[part].sum()):,}" for part in SPLITS)
    unit = "bytes" if vocabulary.level == "byte" else "characters"
    kinds = int(np.count_nonzero(corpus.counts))
    log.info("text      %s: %s %s, %s symbols; %s", corpus.name, f"{len(corpus.ids):,}", unit, f"{kinds:,}", parts)
    _report_symbols(data)
    if not len(data.validation_ids):
        return {}
    figures = baseline_scores(data.train_ids, data.validation_ids, vocabulary)
    log.info("compare   %s bits per character", ", ".join(f"{name} {bits:.3f}" for name, bits in figures.items()))
    return figures


def _report_symbols(data: CharDataModule) -> None:
    vocabulary, counts = data.vocabulary, np.array(data.corpus.counts)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]

    def shown(ids: np.ndarray) -> str:
        names = (repr(vocabulary.decode([i])) if vocabulary.level == "char" else f"{i:#04x}" for i in ids)
        return " ".join(f"{name} {counts[i]:,}" for name, i in zip(names, ids, strict=True))

    log.info("frequent  %s", shown(order[:LISTED]))
    if len(order) > LISTED:
        log.info("rare      %s", shown(order[LISTED:][::-1][:LISTED]))
    if vocabulary.level == "char" and len(vocabulary) > MANY_SYMBOLS:
        log.info("note      many symbols; data.min_count=5 folds the rare ones, data.level=byte has 256")
    if vocabulary.unknown is not None:
        log.info("unknown   %s characters became the unknown symbol", f"{counts[vocabulary.unknown]:,}")
    if vocabulary.level == "char" and "\r" in vocabulary.characters:
        log.info("note      the text has carriage returns (Windows line ends); data.newlines=lf makes them plain")
    for part in SPLITS[1:]:
        new = (data.counts["train"] == 0) & (data.counts[part] > 0)
        if new.any():
            places = data.counts[part][new].sum()
            log.info("note      %d symbols of the %s part, in %d places, are not in training", new.sum(), part, places)


def seconds_per_step(
    network: CharRNN,
    data: CharDataModule,
    lanes: int,
    make_optimizer: Callable[[list[nn.Parameter]], Optimizer],
    device: torch.device,
    precision: str,
) -> float:
    """The median of three training steps on a copy of the network; the run's generators stay as they are."""
    dtype = PRECISIONS[precision]
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        network = copy.deepcopy(network).to(device, dtype if precision.endswith("true") else None)
        optimizer = make_optimizer(list(network.parameters()))
        starts_B = np.arange(lanes, dtype=np.int64) * data.sequence_length
        seconds = []
        for _ in range(1 + TIMED_STEPS):  # the first pays for memory
            start = time.perf_counter()
            inputs_TB, targets_TB, *_ = read_sequences(data.train_ids, starts_B, data.sequence_length, starts=True)
            with torch.autocast(device.type, dtype, enabled=precision.endswith("mixed")):
                logits, _ = network.unroll(inputs_TB.to(device), network.initial_state(lanes))
                loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets_TB.to(device).flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            loss.item()  # waits for the device
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
