"""Compare the speed of this project with common alternatives. Results are checked for equality before timing.

python scripts/benchmark.py recurrence                the kernels, nn.RNN, a one-hot loop and JAX
python scripts/benchmark.py lightning                 whole training runs, nn.RNN in Lightning and a bare loop
python scripts/benchmark.py generate                  text generation, and nn.RNN stepped one character at a time
python scripts/benchmark.py ddp                       one network trained by several processes and by one
python scripts/benchmark.py data                      a text of 1 GB: encoding, memory, startup, reading batches
python scripts/benchmark.py gpu                       all of it on a GPU, in at most 9 minutes
python scripts/benchmark.py recurrence --json FILE    also write the results, command, hardware, versions and date
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # which PYTHONSAFEPATH=1 leaves out

import entry
from charrnn.utils.cli import CommandParser


def main() -> None:
    parser = CommandParser(description="Measure speed and memory.")
    subcommands = parser.add_subparsers(dest="subcommand", required=True)
    topics = (
        ("recurrence", "time the kernels"),
        ("lightning", "time whole training runs"),
        ("generate", "time text generation"),
        ("ddp", "time training with several processes"),
        ("data", "measure time and memory for a long text"),
        ("gpu", "check and time everything on a GPU, in one call"),
    )
    for name, topic in topics:
        subcommand = subcommands.add_parser(name, help=topic)
        subcommand.add_argument("--json", metavar="FILE", help="write the results to this file")
        subcommand.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
        rounds = 3 if name == "lightning" else 15
        help_rounds = f"rounds that time each candidate (default: {rounds})"
        subcommand.add_argument("--rounds", type=int, default=rounds, help=help_rounds)
        subcommand.add_argument("--toy", action="store_true", help="use tiny sizes, to check that the benchmark runs")
        if name == "recurrence":
            subcommand.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: cpu)")
            subcommand.add_argument("--tf32", action="store_true", help="on CUDA, use TF32 for every candidate")
            subcommand.add_argument(
                "--grid", nargs="+", metavar="B,T,H", help="sizes to time, such as 64,64,256 (default: a fixed list)"
            )
        elif name == "generate":
            subcommand.add_argument("--length", type=int, default=4000, help="characters per text (default: 4000)")
        elif name == "ddp":
            subcommand.add_argument(
                "--processes", type=int, default=2, help="processes that share a batch (default: 2)"
            )
        elif name == "data":
            subcommand.add_argument(
                "--megabytes", type=int, default=1000, help="size of the text in MB (default: 1000)"
            )
        if name == "gpu":
            subcommand.add_argument("--minutes", type=float, default=9, help="when to stop (default: 9)")
            subcommand.add_argument("--only", nargs="+", metavar="SECTION", help="sections to run (default: all)")
        if name in ("lightning", "gpu"):
            subcommand.set_defaults(accelerator="cpu", grid=None)
            subcommand.add_argument("--steps", type=int, default=600, help="optimizer steps per run (default: 600)")
    arguments = parser.parse_args()

    import torch

    from benchmarks import data, generation, gpu, lightning_runs, recurrence, together
    from benchmarks.record import write_record

    torch.set_num_threads(arguments.threads)
    benchmarks = {
        "recurrence": recurrence, "lightning": lightning_runs, "generate": generation, "ddp": together, "data": data,
        "gpu": gpu,
    }  # fmt: skip
    results = benchmarks[arguments.subcommand].measure(arguments)
    if arguments.json:
        write_record(arguments.json, results)


if __name__ == "__main__":
    entry.run_script(main)
