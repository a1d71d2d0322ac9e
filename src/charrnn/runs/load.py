"""Load a trained network from a checkpoint file."""

from pathlib import Path
from typing import Any, NamedTuple

from charrnn.data.vocabulary import AnyVocabulary, vocabulary_of
from charrnn.network import CharRNN
from charrnn.network.recurrence import REMOVED_KERNELS
from charrnn.runs import checkpoint_file
from charrnn.runs.checkpoint_file import network_weights
from charrnn.runs.folder import checkpoint_at
from charrnn.utils.errors import RequestError
from charrnn.utils.files import user_path


class LoadedNetwork(NamedTuple):
    """A trained network, on the CPU and ready to predict, and its vocabulary.

    `data` describes how its text was read and split, `about` is all that the checkpoint says of the run.
    """

    network: CharRNN
    vocabulary: AnyVocabulary
    data: dict[str, Any]
    about: dict[str, Any]


def load_network(path: str | Path) -> LoadedNetwork:
    """Load a trained network from a checkpoint, which needs no other file, or from the best one of a run or a sweep.

    Raises `RequestError` if it is not a checkpoint of this project.
    """
    path = checkpoint_at(user_path(path))
    checkpoint = checkpoint_file.read(path)
    about = checkpoint["charrnn"]
    try:
        kernel = {"kernel": "auto"} if about["network"].get("kernel") in REMOVED_KERNELS else {}
        network, vocabulary = CharRNN(**{**about["network"], **kernel}), vocabulary_of(about["vocabulary"])
        network.load_state_dict(network_weights(checkpoint))
        if len(vocabulary) != about["network"]["vocabulary_size"]:
            raise ValueError(f"a vocabulary of {len(vocabulary)} for {about['network']['vocabulary_size']} outputs")
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise RequestError(f"what {path} holds does not fit together ({error!r}); use another checkpoint") from error
    return LoadedNetwork(network.eval(), vocabulary, about.get("data", {}), about)
