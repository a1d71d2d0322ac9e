"""The pages of docs/reference/ and what they describe: settings, commands, metrics, files, exit codes, Python API."""

import contextlib
import csv
import io
import re
import shutil
import signal
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import charrnn
from charrnn.runs.folder import read_summary
from charrnn.utils import cli
from charrnn.utils.config import flattened
from charrnn.utils.paths import CONF
from charrnn.utils.signals import STOP_SIGNALS
from conftest import ROOT, call, composed

REFERENCE = ROOT / "docs" / "reference"
SMALL = (
    "data=text", "data.validation_fraction=0.1", "data.batch_size=4", "data.sequence_length=8", "model.hidden=16",
    "optimizer.lr=1e-3", "threads=1", "trainer=cpu", "trainer.max_steps=4", "trainer.val_check_interval=2",
    "trainer.log_every_n_steps=1",
)  # fmt: skip
GROUPS = ("model", "data", "optimizer", "scheduler", "trainer", "callbacks", "logger")
OPTIONS = [(group, file.stem) for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]
PLACEHOLDERS = {"k": r"\d+", "matrix": r"(?:layer\d+/)?(?:input_to_hidden|hidden_to_hidden|hidden_to_output)"}
# Files of a run that has ended only with luck, or that only other runs have.
ELSEWHERE = {"checkpoints/previous.ckpt", ".submitit/"}


def page(name: str) -> str:
    return (REFERENCE / name).read_text("utf-8")


def section(name: str, heading: str) -> str:
    """The part of a page below a heading, up to the next one of the same level."""
    level = heading.split()[0]
    (found,) = re.findall(rf"^{re.escape(heading)}\n(.*?)(?=^{level} |\Z)", page(name), re.DOTALL | re.MULTILINE)
    return str(found)


def first_cells(text: str) -> list[str]:
    """The code in the first cell of each row of the tables."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def train(*overrides: str) -> None:
    done = call("train.py", *SMALL, *overrides)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def runs(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two ReLU layers and all monitors, one of a tanh layer with a few, and a sweep."""
    folder = tmp_path_factory.mktemp("runs")
    text = f"data.path={text_file}"
    monitors = (
        "+callbacks.states={_target_: charrnn.training.callbacks.network_monitors.HiddenStates, "
        "when: validation, lanes: 2, length: 8, every: 4}",
        "+callbacks.memory={_target_: charrnn.training.callbacks.sequence_monitors.Memory, when: end, context: 8}",
    )
    one_validation = ("trainer.val_check_interval=4", "keep_every=2", "callbacks.samples.length=5")
    train(text, f"hydra.run.dir={folder / 'all'}", "callbacks=all", "model.layers=2", *one_validation)
    train(text, f"hydra.run.dir={folder / 'my_run'}", "callbacks=none", "model.activation=tanh", *monitors)
    train(text, f"hydra.sweep.dir={folder / 'sweep'}", "-m", "seed=1,2", "callbacks=none", "trainer.max_steps=1")
    return folder


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The modules of scripts/pages/."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import pages.commands
    import pages.settings

    yield pages
    for name in [name for name in sys.modules if name.partition(".")[0] in ("pages", "entry")]:
        del sys.modules[name]


def test_generated_pages_are_up_to_date() -> None:
    done = call("scripts/build_docs.py", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "run python scripts/build_docs.py"


def test_a_page_that_is_out_of_date_is_named_and_written(
    pages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import build_docs

    monkeypatch.setattr(build_docs, "PROJECT", tmp_path)
    monkeypatch.setattr(build_docs, "generated_files", lambda: {tmp_path / "a.md": "new", tmp_path / "b.md": "same"})
    (tmp_path / "a.md").write_text("old")
    (tmp_path / "b.md").write_text("same")
    for arguments, code, printed in (
        (["--check"], 1, "a.md: out of date\n"),
        ([], 0, "a.md: written\n"),
        (["--check"], 0, ""),
    ):
        monkeypatch.setattr(sys, "argv", ["build_docs.py", *arguments])
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert (build_docs.main(), out.getvalue()) == (code, printed)
    assert (tmp_path / "a.md").read_text() == "new"


def test_settings_are_read_with_their_comments(pages: Any, tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(
        "# What it is,\n# and why.\ndefaults: [other, _self_]\n_target_: a.B\n"
        'one: "#"   # a sign\ngroup:     # of two\n  inner:\n    two: 6e-3   # deep # down\n'
        "  list:\n    - x\n    - y\nthree: null\n"
    )
    option = pages.settings.read_option(file, "model")
    assert (option.name, option.description) == ("some", "What it is, and why.")
    assert (option.extends, option.target) == (["other"], "a.B")
    assert [tuple(each.__dict__.values()) for each in option.settings] == [
        ("model.one", '"#"', "a sign"),
        ("model.group", "", "of two"),
        ("model.group.inner", "", ""),
        ("model.group.inner.two", "6e-3", "deep # down"),
        ("model.group.list", "[x, y]", ""),
        ("model.three", "null", ""),
    ]


def test_every_setting_is_explained() -> None:
    settings, rest = page("settings.md").split("## `experiment`: recipes")
    text = settings + rest.split("## `hydra`")[1]
    explained = dict(re.findall(r"^\| `([^`]+)` \| [^|]* \| (.*?) \|$", text, re.MULTILINE))
    assert "" not in explained.values()
    composed_settings = flattened(OmegaConf.to_container(composed(), resolve=False))
    assert {key for key in composed_settings if not key.endswith("_target_")} <= explained.keys()


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_has_its_settings_and_values(group: str, option: str) -> None:
    """Hydra itself says what an option sets."""
    raw: Any = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{option}.yaml"), resolve=False)
    text = section("settings.md", f"## `{group}`")
    heading = re.search(rf"^### `{group}={option}`.*$", text, re.MULTILINE)
    assert heading is not None
    rows = dict(re.findall(r"^\| `([^`]+)` \| `?(.*?)`? \|", text[heading.end() :].split("\n### ")[0], re.MULTILINE))
    expected = {
        f"{group}.{key}": value for key, value in flattened(raw).items() if not key.endswith(("_target_", "defaults"))
    }
    assert {key: _value(rows[key]) for key in expected} == expected


def _value(text: str) -> Any:
    """What YAML reads in a cell."""
    return OmegaConf.to_container(OmegaConf.create(f"x: {text}"), resolve=False)["x"]  # type: ignore[index,call-overload]


def test_every_recipe_is_listed_with_what_it_sets() -> None:
    recipes = section("settings.md", "## `experiment`: recipes")
    names = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
    assert re.findall(r"^### `experiment=(\w+)`$", recipes, re.MULTILINE) == names
    for name in names:
        cfg = composed(f"experiment={name}")
        recipe = OmegaConf.load(CONF / "experiment" / f"{name}.yaml")
        swept = OmegaConf.select(recipe, "hydra.sweeper.params", default={})
        rows = recipes.split(f"### `experiment={name}`\n")[1].split("### ")[0]
        for key, text in re.findall(r"^\| `([\w.]+\.\w+)` \| `(.*?)` \|", rows, re.MULTILINE):
            value = OmegaConf.select(cfg, key)
            if key in swept:  # several values, of which each job has one
                assert text == swept[key]
            elif OmegaConf.is_dict(value):  # an object, named by its class
                assert value["_target_"].endswith(f".{text}")
            else:
                assert value == _value(text), (name, key)
    assert "\n| `max_minutes` | `20` |" in recipes  # a setting of no group
    assert ".` |" not in recipes and "|  |  |" not in recipes


def test_commands_have_the_options_that_help_prints() -> None:
    text = page("commands.md")
    scripts = re.findall(r"^## `(scripts/\w+\.py)`$", text, re.MULTILINE)
    assert {f"scripts/{file.name}" for file in (ROOT / "scripts").glob("*.py")} == {*scripts, "scripts/entry.py"}
    assert call("train.py", "--help").stdout.strip() in text
    for script in scripts:
        described = section("commands.md", f"## `{script}`")
        parts = {script: described.split("### ")[0]}
        parts |= dict(re.findall(r"^### `(.*?)`\n(.*?)(?=^### |\Z)", described, re.DOTALL | re.MULTILINE))
        for name, part in parts.items():
            explained = call(script, *name.split()[1:], "--help").stdout
            printed = re.findall(r"^  (--[a-z][\w-]*)", explained, re.MULTILINE)
            assert [re.match(r"[\w-]+", cell)[0] for cell in first_cells(part) if cell.startswith("--")] == printed, (
                name
            )  # type: ignore[index]


def documented_tags() -> dict[str, re.Pattern[str]]:
    """Each tag of metrics.md, with the pattern of its forms: several layers, lags, matrices."""
    tags = [
        tag for tag in first_cells(page("metrics.md")) if "/" in tag or tag in ("sample", "custom_scalars__config__")
    ]
    assert len(tags) == len(set(tags)) > 30
    patterns = {}
    for tag in tags:
        pattern = re.sub(r"<(\w+)>", lambda found: PLACEHOLDERS[found[1]], re.sub(r"[.]", r"\\.", tag))
        patterns[tag] = re.compile(rf"{pattern}(/layer\d+)?")
    return patterns


def logged_tags(run: Path) -> set[str]:
    """All tags in a run's TensorBoard events."""
    (events,) = run.glob("events.out.*")
    tags = {value.tag for event in EventFileLoader(str(events)).Load() for value in event.summary.value}
    return {tag.removesuffix("/text_summary") for tag in tags}


def columns(run: Path) -> set[str]:
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        return {*next(csv.reader(file))} - {"step"}


def test_every_metric_is_documented_and_logged(runs: Path) -> None:
    patterns = documented_tags()
    in_events, in_csv = (
        set[str]().union(*map(read, (runs / "all", runs / "my_run"))) for read in (logged_tags, columns)
    )
    logged = in_events | in_csv
    assert [tag for tag in logged if not any(pattern.fullmatch(tag) for pattern in patterns.values())] == []
    assert [tag for tag, pattern in patterns.items() if not any(map(pattern.fullmatch, logged))] == []
    assert in_csv - in_events == {"nats_per_char/train", "nats_per_char/val"}
    curves = set(first_cells(section("metrics.md", "## Curves")))
    assert curves <= in_csv


def tree(folder: Path) -> set[str]:
    """The files below a folder; folders of jobs alone, with a slash."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_file_of_a_run_is_documented(runs: Path) -> None:
    documented = set(first_cells(section("files.md", "## A run")))
    found = {re.sub(r"(?<=step_)\d+", "<step>", name) for name in tree(runs / "all")}
    found = {re.sub(r"(?<=tfevents\.).+", "<...>", name) for name in found}
    assert found == documented - ELSEWHERE


def test_every_file_of_a_sweep_is_documented(runs: Path) -> None:
    documented = set(first_cells(section("files.md", "## A sweep")))
    found = {path.name + "/" * path.is_dir() for path in (runs / "sweep").iterdir()}
    assert {"<swept settings>/" if name.startswith("seed-") else name for name in found} == documented - ELSEWHERE


def test_every_key_of_the_summary_is_documented(runs: Path) -> None:
    always, sometimes = section("files.md", "## summary.json").split("| key that only some runs have")
    assert first_cells(always) == list(read_summary(runs / "my_run"))
    assert first_cells(sometimes) == ["changes"]


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert charrnn.__version__ == version
    assert OmegaConf.load(ROOT / "CITATION.cff").version == version
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_exit_codes() -> None:
    codes = {
        name: int(code) for code, name in re.findall(r"^\| (\d+) \| ([^|`]+) \|", page("exit-codes.md"), re.MULTILINE)
    }
    signals = {"Ctrl-C": 128 + signal.SIGINT, "SIGTERM": 128 + signal.SIGTERM}
    known = {"failed": cli.EXIT_FAILED, "wrong request": cli.EXIT_REQUEST, "closed pipe": cli.EXIT_BROKEN_PIPE}
    assert codes == {"done": 0, **known, **signals}
    assert all(signal.Signals(signum).name in page("exit-codes.md") for signum in STOP_SIGNALS)
    assert call("train.py", "--help").returncode == codes["done"]
    assert call("train.py", "model.hiden=3").returncode == codes["wrong request"]
    assert call("scripts/generate.py", "--run", "no such folder").returncode == codes["wrong request"]


def test_the_blocks_of_the_python_api_run(
    runs: Path, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs / "my_run", tmp_path / "outputs" / "my_run")
    shutil.copy(text_file, tmp_path / "my_book.txt")
    monkeypatch.chdir(tmp_path)
    text = page("python-api.md")
    blocks = re.findall(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```$)?", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == text.count("```python") > 5
    names: dict[str, Any] = {}
    for code, expected in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, "python-api.md", "exec"), names)
        assert out.getvalue() == expected, code


def test_the_python_api_lists_what_its_blocks_use() -> None:
    listed = set(re.findall(r"^\| .* \| `(charrnn[\w.]*)` \|", page("python-api.md"), re.MULTILINE))
    used = set(re.findall(r"^from (charrnn[\w.]*) import", page("python-api.md"), re.MULTILINE))
    assert listed == used - {"charrnn.generation.sampling", "charrnn.analysis.text_features"}
