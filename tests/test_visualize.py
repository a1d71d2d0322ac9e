import sys
from pathlib import Path

import pytest

from conftest import call, command, train_here
from test_bad_requests import refused

PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def run(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    small = ("model.hidden=8", "trainer.max_steps=3", "threads=1", "data.batch_size=2", "data.sequence_length=8")
    train_here(folder, "data=text", *small, path=text_file)
    return folder


def test_the_page_shows_the_validation_split_by_default(run: Path, tmp_path: Path) -> None:
    result = command("scripts/visualize.py", "--run", run, "--characters", 200, cwd=tmp_path)
    assert result.stdout == "units.html\n", result.stderr
    page = (tmp_path / "units.html").read_text("utf-8")
    assert "small.txt: validation split" in page
    assert "the first 200 of 1,500 symbols" in page
    (tmp_path / "units.html").write_text("mine")
    again = command("scripts/visualize.py", "--run", run, cwd=tmp_path)
    assert (again.returncode, (tmp_path / "units.html").read_text()) == (2, "mine")
    assert "units.html already exists; choose another file with --out, or overwrite it with --force" in again.stderr
    assert command("scripts/visualize.py", "--run", run, "--force", cwd=tmp_path).stdout == "units.html\n"


def test_plots_of_a_text(run: Path, text_file: Path, tmp_path: Path) -> None:
    result = command("scripts/visualize.py", "--run", run, "--text", text_file, "--png", "plots", cwd=tmp_path)
    files = [f"plots/{name}.png" for name in ("text", "heat_map", "histograms")]
    assert result.stdout.split() == files, result.stderr
    assert all((tmp_path / file).read_bytes().startswith(PNG) for file in files)


def test_wrong_requests_end_with_one_line(run: Path) -> None:
    for arguments, message in (
        (("--characters", "0"), "--characters must be a positive integer, got 0"),
        (("--out", run), "is a folder; choose a file with --out"),
        (("--run", run, "--checkpoint", run), "not allowed with argument"),
    ):
        refused(*call("scripts/visualize.py", *arguments), message, "visualize.py")


def test_png_without_matplotlib_fails_in_one_line(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    line = "matplotlib is not installed: no plot can be drawn. To get it: pip install -e '.[plots]'"
    assert call("scripts/visualize.py", "--run", str(run), "--png", str(tmp_path)) == (2, "", f"visualize.py: {line}\n")
