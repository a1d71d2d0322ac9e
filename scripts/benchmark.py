"""How fast, against what a user would take instead. Equality is checked before anything is timed.

python scripts/benchmark.py recurrence                the kernels against nn.RNN, a one-hot loop and JAX
python scripts/benchmark.py lightning                 whole runs against nn.RNN in Lightning and a bare loop
python scripts/benchmark.py generate                  writing text against nn.RNN stepped one character at a time
python scripts/benchmark.py ddp                       several processes that train one network, against one
python scripts/benchmark.py data                      a text of a gigabyte: encoding, memory, start, reading
python scripts/benchmark.py recurrence --json FILE    the numbers, with command, hardware, versions and date
"""

import entry
from charrnn.utils.cli import CommandParser


def main() -> None:
    parser = CommandParser(description="Measure speed and memory.")
    subcommands = parser.add_subparsers(dest="subcommand", required=True)
    meanings = (
        ("recurrence", "the kernels"),
        ("lightning", "whole runs"),
        ("generate", "writing"),
        ("ddp", "several processes"),
        ("data", "long texts"),
    )
    for name, meaning in meanings:
        subcommand = subcommands.add_parser(name, help=meaning)
        subcommand.add_argument("--json", metavar="FILE", help="write the numbers there")
        subcommand.add_argument("--threads", type=int, default=2, help="of the CPU (2)")
        subcommand.add_argument("--rounds", type=int, default=15, help="timed rounds, all candidates in turn (15)")
        subcommand.add_argument("--toy", action="store_true", help="tiny sizes: does it run?")
        if name == "recurrence":
            subcommand.add_argument("--device", default="cpu", help="cpu, cuda or mps (cpu)")
            subcommand.add_argument("--tf32", action="store_true", help="on CUDA: for every candidate, not for none")
            subcommand.add_argument("--grid", nargs="+", metavar="B,T,H", help="sizes instead of the usual ones")
        elif name == "generate":
            subcommand.add_argument("--length", type=int, default=4000, help="characters of a text (4000)")
        elif name == "ddp":
            subcommand.add_argument("--processes", type=int, default=2, help="that share a batch (2)")
        elif name == "data":
            subcommand.add_argument("--megabytes", type=int, default=1000, help="length of the text (1000)")
        else:
            subcommand.add_argument("--steps", type=int, default=600, help="optimizer steps of a run (600)")
    arguments = parser.parse_args()

    import torch

    from benchmarks import data, generation, lightning_runs, recurrence, together
    from benchmarks.record import write_record

    torch.set_num_threads(arguments.threads)
    benchmarks = {
        "recurrence": recurrence, "lightning": lightning_runs, "generate": generation, "ddp": together, "data": data,
    }  # fmt: skip
    results = benchmarks[arguments.subcommand].measure(arguments)
    if arguments.json:
        write_record(arguments.json, results)


if __name__ == "__main__":
    entry.run_script(main)
