"""Download texts into the cache and verify their SHA-256."""

import hashlib
import http.client
import logging
import re
import shutil
import urllib.request
from pathlib import Path

from charrnn.data.errors import TextError
from charrnn.utils.errors import RequestError
from charrnn.utils.files import atomic_write, cache_folder

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 22
TIMEOUT_SECONDS = 30


def download(url: str, sha256: str | None) -> Path:
    """Return the cached file of `url`; download it if it is missing or does not match `sha256`."""
    # The hash of the URL keeps equal file names apart; the name keeps the suffix of a compressed file.
    name = re.sub(r"[?#].*", "", url).rsplit("/", 1)[-1]
    file = cache_folder() / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}_{name}"
    if file.is_file():
        if sha256 is None or sha256_of(file) == sha256.lower():
            return file
        log.warning("the cached text %s is damaged; downloading it again", file)
    log.info("downloading %s", url)
    by_hand = f"download it yourself and save it as {file}, or use your copy with"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, atomic_write(file) as target:
            shutil.copyfileobj(response, target, CHUNK_BYTES)
            announced = getattr(response, "headers", {}).get("Content-Length")
            if announced is not None and target.tell() != int(announced):
                raise http.client.IncompleteRead(b"", int(announced) - target.tell())
            target.seek(0)
            got = hashlib.file_digest(target, "sha256").hexdigest()
            if sha256 is not None and got != sha256.lower():
                raise ValueError(f"the server sent a different text: expected sha256 {sha256}, got {got}")
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError also for an invalid URL
        reason = getattr(error, "reason", error)
        problem = f"{url} cannot be downloaded ({reason})"
        raise TextError(problem, f"{by_hand} data=text data.path=FILE", f"{by_hand} --text FILE") from error
    return file


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits; raise `RequestError` if it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(file, error) from error


def unreadable(what: object, error: OSError) -> RequestError:
    """Return the error for a text that cannot be read."""
    return RequestError(f"{what} can't be read as a text: {error.strerror or error}; use another file")
