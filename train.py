"""Train a character-level RNN; Hydra reads the command line, `charrnn.experiment.run` does the work.

python train.py model.hidden=256 data.sequence_length=64
python train.py -m model.hidden=64,128 optimizer.lr=1e-3,3e-3
python train.py --help
"""

import io
import logging
import os
import sys
from contextlib import nullcontext, redirect_stdout

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.stderr.write("train.py: this is Python %d.%d; use 3.11, 3.12 or 3.13\n" % sys.version_info[:2])  # noqa: UP031
    sys.exit(2)
try:
    import fcntl  # noqa: F401  # the locks of run folders
except ImportError:
    sys.stderr.write("train.py: Windows is not supported; use WSL, Linux or macOS\n")
    sys.exit(2)
try:
    from charrnn.utils.signals import ctrl_c_ends_imports, signals_end_process, signals_raise_stopped

    ctrl_c_ends_imports()

    import hydra
    from omegaconf import DictConfig

    from charrnn.runs import sweep
    from charrnn.utils.cli import EXIT_FAILED, EXIT_REQUEST, UNWRITTEN, flushed, print_error, unwritten
    from charrnn.utils.errors import RunFailed, Stopped
    from charrnn.utils.hydra_errors import check_command_line, request_line
    from charrnn.utils.paths import require_project
    from charrnn.utils.process import RANK_VARIABLES, set_before_torch
    from charrnn.utils.screen import ScreenHandler, report
    from charrnn.utils.streams import open_missing_streams, say
except ModuleNotFoundError as error:
    sys.stderr.write(
        f"train.py: {error.name} is not installed; run scripts/train.sh, which installs everything, "
        "or activate its environment: source .venv/bin/activate\n"
    )
    sys.exit(2)
except KeyboardInterrupt:
    sys.exit(130)

exit_code = 0
trained = dry_run = False


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def job(cfg: DictConfig) -> float:
    """Run an experiment, or a job of a sweep, in which an error must not end the jobs after it."""
    global trained, dry_run
    trained = True
    in_sweep, bits_per_char, status = sweep.in_sweep(), float("nan"), "failed"
    dry_run = cfg.get("dry_run") is True
    if in_sweep:
        sweep.resume_requeued_job(cfg)
        sweep.stop_with_launcher()
    with sweep.requeued_by_submitit():
        try:
            sweep.refuse_resume_without_sweep(cfg)
            say_what_loads()
            with nullcontext() if sweep.in_submitit_job() else signals_end_process(finish):
                from charrnn.experiment import run  # torch and lightning take seconds to load: only if there is work

            bits_per_char, status = run(cfg), "finished"
        except Exception as error:
            report_error(error, in_sweep)
        if in_sweep:
            sweep.end_job(status)
    return bits_per_char


def say_what_loads() -> None:
    """Say why nothing else appears for seconds; only on rank 0, and once in a process."""
    ranks = [os.environ.get(name, "0") for name in RANK_VARIABLES]
    if "torch" not in sys.modules and not any(rank.strip("0") for rank in ranks):
        report("loading", "PyTorch and Lightning")


def report_error(error: Exception, in_sweep: bool) -> None:
    """Print one line for a failed run; a bug keeps its traceback, in a sweep in the job's log."""
    global exit_code
    line = str(error) if isinstance(error, RunFailed) else request_line(error, sys.argv[1:])
    if line is None and not in_sweep:
        raise error
    if line is None:
        logging.getLogger("charrnn").exception("the job failed")
    print_error("train.py", line or f"{type(error).__name__}: {error}")
    exit_code = EXIT_FAILED if in_sweep or isinstance(error, RunFailed) else EXIT_REQUEST


def main() -> int:
    """Run the command line and return the exit code: 0 done, 1 failed, 2 wrong request, 128 + n after a signal n."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then raises instead of printing several lines of its own
    set_before_torch()
    open_missing_streams()
    sweep.register_resolvers()
    sweep.SweepCallback.reset()  # of an earlier command of this process, as in a notebook
    ScreenHandler.reported.clear()
    code, all_finished, ended = EXIT_FAILED, True, False
    try:
        code, ended = run_command_line()
    finally:
        all_finished = finish(code, ended)
    return code if all_finished or code else EXIT_FAILED


def finish(code: int, ended: bool = False) -> bool:
    """Report a sweep, or remove what a run without results leaves; return whether all jobs of a sweep finished."""
    callback = sweep.SweepCallback
    if callback.folder is not None:
        table, all_finished = sweep.report_sweep(callback.folder, ended)
        if table:
            say(table)
        return all_finished
    if (before := callback.before) and (dry_run or code == EXIT_REQUEST or not before.has_run()):
        before.restore_run()
    return True


def job_or_info() -> None:
    """Call Hydra, which trains or shows what its flags ask for: `logging` hides that --info could not be printed."""
    if not any(word.startswith(("-i", "--i")) for word in sys.argv[1:]):
        job()
        return
    with redirect_stdout(io.StringIO()) as shown:
        job()
    print(shown.getvalue(), end="")


def run_command_line() -> tuple[int, bool]:
    """Run what was typed; return the exit code, and whether a sweep ran to its end."""
    try:
        require_project()
        sys.argv[1:] = check_command_line(sys.argv[1:])
        with signals_raise_stopped():
            job_or_info()
        return exit_code, True
    except Stopped as stop:
        return stop.exit_code, False
    except KeyboardInterrupt:
        return 130, False
    except sweep.SweepRefused as error:
        print_error("train.py", error)
        return EXIT_REQUEST, False
    except Exception as error:
        if isinstance(error, OSError) and error.errno in UNWRITTEN and error.filename is None and not trained:
            return unwritten("train.py", error), False
        line, code = sweep.launcher_line(error) or (request_line(error, sys.argv[1:]), EXIT_REQUEST)
        if line is None:
            raise
        print_error("train.py", line)
        return code, False


if __name__ == "__main__":
    try:
        code = main()
    except SystemExit as stop:  # --help
        code = int(stop.code or 0)
    except KeyboardInterrupt:
        code = 130
    flushed_code = flushed("train.py", code)
    sys.exit(code if trained else flushed_code)  # a run that nobody could watch has its log in a file
