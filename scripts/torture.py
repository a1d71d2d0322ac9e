"""Kill a training run at random moments, go on with the same command, and compare its end with an undisturbed run's.

python scripts/torture.py --kills 50

Weights, optimizer, curves and samples must be the same bit for bit. Exit code 0 if they are, 1 if not.
"""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:
    from charrnn.errors import CommandParser, RunFailed, exit_codes, print_error
    from charrnn.runs import read_summary
except ModuleNotFoundError:
    sys.stderr.write("torture.py: charrnn is not installed; run scripts/train.sh, or source .venv/bin/activate\n")
    sys.exit(2)

ROOT = Path(__file__).resolve().parents[1]
RUN = (
    "model.hidden=64", "model.layers=2", "model.dropout=0.2", "trainer.accelerator=cpu", "threads=1",
    "trainer.accumulate_grad_batches=2", "trainer.val_check_interval=90", "trainer.log_every_n_steps=10",
    "data.validation_fraction=0.01", "data.test_fraction=0.01", "checkpoint_every=5", "resume_from=last",
)  # fmt: skip
IN_THE_START = 0.1  # share of the kills before the training has begun


def command(folder: Path, steps: int, order: str) -> list[str]:
    overrides = (*RUN, f"trainer.max_steps={steps}", f"data.order={order}", f"hydra.run.dir={folder}")
    return [sys.executable, str(ROOT / "train.py"), *overrides]


def run_to_the_end(folder: Path, steps: int, order: str) -> None:
    done = subprocess.run(command(folder, steps, order), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunFailed(f"a run that nobody disturbed ended with {done.returncode}: {done.stderr.strip()}")


def kill_once(folder: Path, steps: int, order: str, wait: float, draws: random.Random) -> str:
    """Start or go on, and kill after a random while; say where that was, or that the run came to its end."""
    before, leftovers = _state(folder), set((folder / "checkpoints").glob(".*.tmp"))
    process = subprocess.Popen(command(folder, steps, order), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if draws.random() < IN_THE_START:
        time.sleep(draws.uniform(0.1, 3.0))
    else:
        while process.poll() is None and _state(folder) == before:
            time.sleep(0.01)
        time.sleep(draws.uniform(0.0, wait))
    process.kill()
    _, stderr = process.communicate()
    if process.returncode == 0:
        return "finished"
    if process.returncode != -9:
        raise RunFailed(f"going on ended with {process.returncode}: {stderr.decode().strip()}")
    torn = set((folder / "checkpoints").glob(".*.tmp")) - leftovers
    return "within a checkpoint write" if torn else "elsewhere"


def _state(folder: Path) -> object:
    """Changes when the training begins and when it saves."""
    files = (folder / "summary.json", folder / "checkpoints" / "last.ckpt")
    return [file.stat().st_mtime_ns if file.exists() else None for file in files]


def difference(ours: Path, theirs: Path) -> str | None:
    """What is not the same in two finished runs, clocks aside; None if everything is."""
    import logging

    import torch
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it says of every resume that points were dropped
    for name in ("best", "last"):
        one, other = (torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for run in (ours, theirs))
        for key, tensor in other["state_dict"].items():
            if not torch.equal(one["state_dict"][key], tensor):
                return f"{key} of {name}.ckpt"
        for state, expected in zip(one["optimizer_states"], other["optimizer_states"], strict=True):
            for number, moments in expected["state"].items():
                if any(not torch.equal(state["state"][number][key], value) for key, value in moments.items()):
                    return f"the optimizer of {name}.ckpt"
    curves = []
    for run in (ours, theirs):
        points = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
        tags = [tag for tag in points.Tags()["scalars"] if not tag.startswith("speed/")]
        curves.append({tag: [(event.step, event.value) for event in points.Scalars(tag)] for tag in tags})
    for tag in sorted(set(curves[0]) | set(curves[1])):
        if curves[0].get(tag) != curves[1].get(tag):
            return f"the curve {tag}"
    if (ours / "samples.txt").read_text("utf-8") != (theirs / "samples.txt").read_text("utf-8"):
        return "samples.txt"
    one, other = read_summary(ours), read_summary(theirs)
    timed = ("train_seconds", "train_chars_per_second", "checkpoint")
    return next((f"{key} of summary.json" for key in other if key not in timed and one.get(key) != other[key]), None)


def main() -> None:
    parser = CommandParser(description="Kill a run at random moments and see whether anything is lost.")
    parser.add_argument("--kills", type=int, default=50, help="how many (50)")
    parser.add_argument("--steps", type=int, default=600, help="optimizer steps of the run (600)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (1)")
    arguments = parser.parse_args()
    draws = random.Random(arguments.seed)
    places: dict[str, int] = {}
    runs = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        while sum(count for place, count in places.items() if place != "finished") < arguments.kills:
            order = ("stream", "shuffle")[runs % 2]
            run, undisturbed = folder / f"run-{runs}", folder / f"undisturbed-{order}"
            if not undisturbed.exists():
                run_to_the_end(undisturbed, arguments.steps, order)
            seconds = read_summary(undisturbed)["train_seconds"]
            place = ""
            while place != "finished":
                left = arguments.kills - sum(count for place, count in places.items() if place != "finished")
                if left <= 0:
                    run_to_the_end(run, arguments.steps, order)
                    break
                place = kill_once(run, arguments.steps, order, seconds / 4, draws)
                places[place] = places.get(place, 0) + 1
            wrong = difference(run, undisturbed)
            if wrong is not None:
                kept = Path.cwd() / f"torture-{order}"
                shutil.copytree(run, kept, dirs_exist_ok=True)
                raise RunFailed(f"run {runs} ({order}) differs in {wrong}; it is kept in {kept}")
            runs += 1
            print(f"run {runs} ({order}) is the same; so far {places}", flush=True)
    print(f"{arguments.kills} kills in {runs} runs; every run ended as the undisturbed one, bit for bit")


if __name__ == "__main__":
    with exit_codes("torture.py"):
        try:
            main()
        except RunFailed as error:
            print_error("torture.py", error)
            sys.exit(1)
