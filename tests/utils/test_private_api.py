import pkgutil
import re
from functools import reduce
from pathlib import Path

import lightning
import pytest
from lightning.pytorch.loggers import TensorBoardLogger

import charrnn
from charrnn.utils.private_api import PRIVATE_API


@pytest.mark.parametrize("name", PRIVATE_API)
def test_the_library_still_has_it(name: str, tmp_path: Path) -> None:
    first, *rest = name.split(".")
    try:
        if first == "Trainer":
            reduce(getattr, rest, lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False))
        elif first == "LightningModule":
            reduce(getattr, rest, lightning.LightningModule())
        elif first == "TensorBoardLogger":
            reduce(getattr, rest, TensorBoardLogger(tmp_path))
        else:
            pkgutil.resolve_name(name)
    except (AttributeError, ImportError):
        pytest.fail(f"{name} no longer exists; it is used for: {PRIVATE_API[name]}")


def test_no_unlisted_private_attribute_of_a_library_is_used() -> None:
    """Private attributes are names with a leading underscore that belong neither to `self` nor to this package."""
    used = set()
    for file in Path(charrnn.__file__).parent.rglob("*.py"):
        code = re.sub(r'(?s:""".*?""")|"[^"\n]*"|#.*', "", file.read_text())
        used |= set(re.findall(r"\b(?!self\b|cls\b)[a-z]\w*\._[a-z]\w*", code))
        used |= set(re.findall(r"from ((?!charrnn)[\w.]+\._\w[\w.]*) import", code))
    listed = {".".join(name.split(".")[-2:]) for name in PRIVATE_API}
    listed |= {"batch._replace", "os._exit", "launcher._target_", "hydra._internal", "hydra._internal.utils"}
    assert used - listed == set()
