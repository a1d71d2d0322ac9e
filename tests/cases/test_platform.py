"""What the machine may lack or impose: Windows, a home folder, CPU quotas, leftovers of launchers, odd settings."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.utilities import rank_zero_only

from charrnn.runs.folder import read_summary
from charrnn.training.distributed.ranks import Ranks, find_ranks
from charrnn.utils import process
from charrnn.utils.errors import RequestError
from charrnn.utils.files import cache_folder, ensure_home
from conftest import ROOT, call, command, mostly_slow, train_here

SMALL = (
    "model.hidden=4", "data.batch_size=4", "data.sequence_length=8", "threads=1", "trainer.accelerator=cpu",
    "trainer.max_steps=4", "trainer.val_check_interval=2", "callbacks=none",
)  # fmt: skip
SCRIPTS = ("generate", "evaluate", "export", "visualize", "compare", "show_checkpoint", "tune", "benchmark")


@pytest.mark.parametrize("script", ["train.py", *(f"scripts/{name}.py" for name in SCRIPTS)])
def test_36_37_without_fcntl_one_line_names_wsl(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("fcntl", "resource", "termios"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "entry", raising=False)
    done = call(script, "--help")
    line = f"{Path(script).name}: Windows is not supported; use WSL, Linux or macOS\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    sys.modules.pop("entry", None)


@pytest.mark.parametrize("system", ["MINGW64_NT-10.0", "MSYS_NT-10.0", "CYGWIN_NT-10.0"])
def test_36_the_shell_scripts_refuse_windows_before_they_install(system: str, tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    for name in ("train.sh", "test.sh", "environment.sh"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    uname = tmp_path / "bin" / "uname"
    uname.parent.mkdir()
    uname.write_text(f"#!/bin/sh\necho {system}\n")
    uname.chmod(0o755)
    for name in ("train.sh", "test.sh"):
        done = subprocess.run(
            ["/bin/bash", tmp_path / "scripts" / name],
            env={"PATH": f"{uname.parent}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (2, f"{name}: Windows is not supported; use WSL, Linux or macOS\n")
    assert not (tmp_path / ".venv").exists()


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user without a name and a home folder; the folder for temporary files."""

    def unknown(uid: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_37_a_user_without_a_home_folder_gets_a_temporary_one(homeless: Path, text_file: Path) -> None:
    assert cache_folder() == homeless / f"charrnn-{os.getuid()}" / ".cache" / "charrnn"
    done = call("train.py", *SMALL, "data=text", f"data.path={text_file}", f"hydra.run.dir={homeless / 'run'}")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(cache_folder().glob("*.ids"))
    assert call("scripts/generate.py", "--run", homeless / "run", "--length", "5").returncode == 0


def test_37_no_home_and_no_temporary_folder(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(homeless / "missing"))
    ensure_home()
    assert Path.home() == Path("/")


def test_37_an_empty_home_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().parent.parent == Path(pwd.getpwuid(os.getuid()).pw_dir)


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "TMPDIR"])
def test_37_a_folder_that_cannot_be_written_is_no_obstacle(
    variable: str, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable == "HOME":
        monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv(variable, "/dev/null/x")
    done = call("train.py", *SMALL, "data=text", f"data.path={text_file}", f"hydra.run.dir={tmp_path / 'run'}")
    assert (done.returncode, done.stderr) == (0, "")


def cgroup(root: Path, membership: str, files: dict[str, str]) -> float:
    for name, text in files.items():
        (root / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "fs" / name).write_text(text)
    (root / "membership").write_text(membership)
    return process.cpu_quota(root / "fs", root / "membership")


NO_QUOTA = float("inf")


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),  # in a container
        ("0::/\n", {"cpu.max": "max 100000\n"}, NO_QUOTA),
        ("0::/\n", {}, NO_QUOTA),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n"}, 1.5),  # of a parent
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b\n", {"cpu.max": "400000 100000\n"}, 4),  # the container does not see the path of its group
        ("0::/../../other\n", {"cpu.max": "400000 100000\n"}, 4),
        ("3:cpu,cpuacct:/d/e\n1:memory:/d\n",
         {"cpu,cpuacct/d/e/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/d/e/cpu.cfs_period_us": "100000\n"}, 3),
        ("3:cpuacct,cpu:/d/e\n", {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 5),
        ("3:cpu:/d\n", {"cpu/d/cpu.cfs_quota_us": "-1\n", "cpu/d/cpu.cfs_period_us": "100000\n"}, NO_QUOTA),
        ("3:cpuset:/d\n0::/\n", {"cpuset/d/cpu.max": "1 1\n"}, NO_QUOTA),
        ("3:name=systemd:/a:b\n0::/a:b\n", {"a:b/cpu.max": "200000 100000\n"}, 2),
        ("", {"cpu.max": "200000 100000\n"}, NO_QUOTA),
    ],
)  # fmt: skip
def test_38_the_cpu_quota_of_a_container(membership: str, files: dict[str, str], cores: float, tmp_path: Path) -> None:
    assert cgroup(tmp_path, membership, files) == cores


def test_38_threads_auto_obeys_the_cpu_quota(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for quota, threads in ((NO_QUOTA, 8), (3.0, 3), (2.5, 2), (0.3, 1), (100.0, 8)):
        monkeypatch.setattr(process, "cpu_quota", lambda quota=quota: quota)
        assert process.default_threads() == threads
    monkeypatch.setattr(process, "cpu_quota", lambda: 6.0)
    assert process.default_threads(2) == 3


LAUNCHERS = ("TORCHELASTIC_RUN_ID", "SLURM_STEP_ID", "LOCAL_RANK", "RANK", "WORLD_SIZE", "SLURM_PROCID")


@pytest.fixture
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_STEP_ID": "0"},
        {"SLURM_STEP_ID": "0", "SLURM_PROCID": "3"},
        {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1"},
        {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "x", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"},
        {"TORCHELASTIC_RUN_ID": "none"},
        {"TORCHELASTIC_RUN_ID": "none", "RANK": "1", "WORLD_SIZE": "2"},
        {"RANK": "1"},
        {"WORLD_SIZE": "4"},
    ],
)
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.usefixtures("no_launcher")
def test_50_incomplete_variables_of_launchers_do_not_count(
    environment: dict[str, str], devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert find_ranks(devices, 1) == Ranks(devices, 0, devices)


@pytest.mark.usefixtures("no_launcher")
def test_50_what_would_wait_for_other_processes_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert find_ranks(1, 1) == Ranks()
    with pytest.raises(RequestError, match="LOCAL_RANK is set, but .*; unset it, or use torchrun or srun"):
        find_ranks(2, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RequestError, match=r"WORLD_SIZE=2 and LOCAL_RANK=1 do not fit trainer.devices=1 .*; unset"):
        find_ranks(1, 1)


@pytest.mark.usefixtures("no_launcher")
def test_50_one_of_many_independent_runs_is_logged(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 3)  # what Lightning reads from SLURM_PROCID=3 when it is imported
    train_here(tmp_path, *SMALL, "data=text", path=text_file)
    assert read_summary(tmp_path)["status"] == "finished"
    assert list(tmp_path.glob("events*"))


def test_50_ranks_that_are_no_numbers_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "abc"), ("SLURM_PROCID", ""), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    process.set_before_torch()
    assert [os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK")] == [None, None, "2"]


def test_an_unknown_backend_of_matplotlib_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend, kept in (("nonsense", "agg"), ("TkAgg", "agg"), ("module://own", "module://own")):
        monkeypatch.setenv("MPLBACKEND", backend)
        process.set_before_torch()
        assert os.environ["MPLBACKEND"] == kept


@pytest.mark.parametrize(
    "setting",
    mostly_slow(
        ["LC_ALL=C", "OMP_NUM_THREADS=abc", "COLUMNS=20", "COLUMNS=abc", "PYTHONIOENCODING=ascii", "TERM=dumb",
         "NO_COLOR=1", "OMP_NUM_THREADS=0", "CUDA_VISIBLE_DEVICES=7", "HYDRA_FULL_ERROR=0", "TZ=nonsense"], 3
    ),
)  # fmt: skip
def test_odd_environment_settings_are_no_obstacle(setting: str, text_file: Path, tmp_path: Path) -> None:
    typed = [*SMALL, "threads=auto", "data=text", f"data.path={text_file}", f"hydra.run.dir={tmp_path / 'run'}"]
    name, _, value = setting.partition("=")
    done = command("train.py", *typed, **{name: value})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [{"PYTHONWARNINGS": "error"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
     {"PYTHONOPTIMIZE": "2"}, {"PYTHONDEVMODE": "1"}, {"MPLBACKEND": "nonsense"}, {"SLURM_PROCID": "2"}],
)  # fmt: skip
def test_what_python_reads_at_its_start_is_no_obstacle(
    environment: dict[str, str], text_file: Path, tmp_path: Path
) -> None:
    typed = [*SMALL, "data=text", f"data.path={text_file}", f"hydra.run.dir={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", *typed],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", [*SCRIPTS, "build_docs", "play"])
def test_scripts_work_without_their_folder_in_the_path(script: str) -> None:
    file = ROOT / "scripts" / f"{script}.py"
    done = subprocess.run([sys.executable, "-P", file, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
