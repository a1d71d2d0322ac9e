"""Shared by the tests: a small real text, small networks, and train.py as a user calls it."""

import contextlib
import io
import logging
import os
import re
import runpy
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, which other libraries do too

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from charrnn import experiment
from charrnn.data.options import TextOptions
from charrnn.data.vocabulary import AnyVocabulary
from charrnn.network import CharRNN
from charrnn.runs import checkpoint_file
from charrnn.runs.folder import read_summary
from charrnn.runs.sweep import SweepCallback
from charrnn.utils.paths import CONF
from zygote import Child, Zygote

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job that a shell started in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # so that processes that the tests start hear Ctrl-C

ROOT = Path(__file__).resolve().parents[1]
OPTIONS: dict[str, Any] = {
    "activation": "tanh",
    "kernel": "reference",
    "recurrent_init": "auto",
    "recurrent_gain": 0.95,
    "input_std": 0.5,
}
SLOW_FILES = (
    "test_together", "test_sweep", "test_submission", "test_tune", "test_monitors", "test_readme", "test_exactness",
    "test_train", "test_benchmark",
)  # fmt: skip
TEXT: dict[str, Any] = {
    str(key): value
    for key, value in OmegaConf.load(CONF / "data" / "text.yaml").items_ex(resolve=False)
    if key in TextOptions.__annotations__ and key != "path"
}


def text_options(path: Any, **changes: Any) -> TextOptions:
    """How to read `path`, as conf/data/text.yaml has it."""
    return TextOptions(path=path if isinstance(path, list | None) else str(path), **{**TEXT, **changes})


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=50, help="how often tests/test_torture.py kills a run (default: 50)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the slow files first, so that no worker of pytest-xdist is left with one at the end."""
    order = {name: i for i, name in enumerate(SLOW_FILES)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(autouse=True)
def _same_process_for_every_test() -> None:
    torch.manual_seed(0)
    torch.set_flush_denormal(False)  # a run sets it, for its process
    torch.set_num_threads(1)  # the problems are tiny, and waiting threads cost more than they give
    logging.getLogger().setLevel(logging.WARNING)  # a command sets it, and `caplog` sees what it lets through


@pytest.fixture(scope="session", autouse=True)
def _end_zygote() -> Iterator[None]:
    yield
    ZYGOTE.close()


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests away from the user's cache, which workers of pytest-xdist share; activate the environment."""
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # `python` is this one
        patch.setenv("XDG_CACHE_HOME", str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"))
        yield


@pytest.fixture(scope="session")
def docs() -> str:
    """Return the first part of the embedded corpus, which takes no time to make."""
    return re.sub(r"[^\n -~]", "", "\n\n".join(topics[key] for key in sorted(topics)))


@pytest.fixture(scope="session")
def text_file(docs: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real text."""
    file = tmp_path_factory.mktemp("text") / "small.txt"
    file.write_text(docs[:30_000], "utf-8")
    return file


@pytest.fixture(scope="session")
def short_text(docs: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Makes a text of so many characters."""

    def make(length: int) -> Path:
        file = tmp_path_factory.mktemp("text") / "a.txt"
        file.write_text(docs[:length])
        return file

    return make


@pytest.fixture(scope="module")
def text(request: pytest.FixtureRequest, short_text: Callable[[int], Path]) -> Path:
    """A text of TEXT_LENGTH characters, which the module of the test says."""
    return short_text(request.module.TEXT_LENGTH)


@pytest.fixture
def make_network() -> Callable[..., CharRNN]:
    def make(vocabulary_size: int = 7, *, trained: bool = True, cell: str = "elman", **changes: Any) -> CharRNN:
        options = OPTIONS if cell == "elman" else {}
        settings = {"cell": cell, "hidden": 5, "layers": 1, "dropout": 0.0, "residual": False, **options, **changes}
        network = CharRNN(vocabulary_size, **settings)
        if trained:  # so that the biases of the output are not zero, which would hide what the tests look for
            torch.nn.init.normal_(network.hidden_to_output)
            torch.nn.init.normal_(network.output_bias)
        return network

    return make


def save_network(network: CharRNN, vocabulary: AnyVocabulary, path: Path, **more: Any) -> Path:
    """Write a checkpoint that holds a network and nothing of a run."""
    weights = {f"network.{name}": values for name, values in network.state_dict().items()}
    about = {"format": checkpoint_file.FORMAT, "network": network.settings, "vocabulary": vocabulary.settings, **more}
    checkpoint_file.write({"state_dict": weights, "charrnn": about}, path)
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator["Chrome"]:
    """A headless Chromium without a network; `browser.get(path.as_uri())` opens a page. Skips where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    from selenium import webdriver  # imported here, so that other tests run without it

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    offline = "--host-resolver-rules=MAP * ~NOTFOUND"
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", offline):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})  # errors of scripts: browser.get_log("browser")
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as opened:
        yield opened


def composed(*overrides: str) -> DictConfig:
    """The configuration that train.py has with these overrides."""
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("config", overrides=list(overrides))


def train_here(folder: Path, *overrides: str, path: Any = None) -> dict[str, Any]:
    """Run `experiment.run` in this process, into `folder`, and return its summary; `path` is the text."""
    cfg = composed("callbacks=none", *overrides, "data.path=''")  # plots take time
    cfg.data.path = path if isinstance(path, list) else str(path)
    experiment.run(cfg, folder)
    return read_summary(folder)


class Called(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def call(script: str, *arguments: object) -> Called:
    """Run a script of the project in this process, which saves the seconds that a start of Python takes."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    out, err = io.StringIO(), io.StringIO()
    out.reconfigure = err.reconfigure = lambda **_: None  # type: ignore[attr-defined]
    code: Any = 0
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(sys, "argv", [script, *map(str, arguments)])
        patch.syspath_prepend(str(ROOT / "scripts"))  # as Python does for the script that it runs
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        finally:
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.setLevel(level)
            root.handlers[:] = handlers
            logging.disable(logging.NOTSET)  # a benchmark silences warnings for its process
            HydraConfig.instance().cfg = None  # what a process of its own would not leave
            SweepCallback.reset()
    return Called(int(code or 0), out.getvalue(), err.getvalue())


def mostly_slow(values: Iterable[Any], quick: int = 1) -> list[Any]:
    """Return the values of a parameter, all of which but the first ones are for the slow tests only."""
    return [pytest.param(value, marks=[pytest.mark.slow] if i >= quick else []) for i, value in enumerate(values)]


ZYGOTE = Zygote()


def start(script: str, *arguments: object, cwd: Path = ROOT, **environment: str) -> Child:
    """Start a script of the project in the background, in a process and a session of its own."""
    variables = {key: value for key, value in os.environ.items() if key not in ("HYDRA_FULL_ERROR", "PYTHONPATH")}
    return ZYGOTE.start(ROOT / script, arguments, cwd, {**variables, **environment})


def command(script: str, *arguments: object, cwd: Path = ROOT, **environment: str) -> Called:
    """Run a script of the project as a user does, in a process of its own."""
    with start(script, *arguments, cwd=cwd, **environment) as process:
        stdout, stderr = process.communicate()
    assert process.returncode is not None
    return Called(process.returncode, stdout, stderr)


def wait_for(condition: Callable[[], Any]) -> None:
    """Wait until the condition holds, at most 100 seconds."""
    deadline = time.monotonic() + 100
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()
