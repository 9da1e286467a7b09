"""Downloads of published data sets from their origins, resumed where they broke off, verified."""

import contextlib
import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from lm_lab.data.progress import Progress
from lm_lab.data.published import PublishedFile, PublishedSet, folder, is_whole
from lm_lab.runs.durable import explained
from lm_lab.runs.locks import Lock, remove_lock
from lm_lab.types import UserError

HOST = "https://raw.githubusercontent.com"
SECONDS = 20  # without an answer, after which a download fails
CHUNK = 2**18
LOCK = ".lock"  # one process fetches a data set


def fetch(wanted: PublishedSet, host: str = HOST) -> list[Path]:
    """Downloads the files of a data set to their places; files that are there already are verified.

    A download that breaks off goes on at the next call. Raises UserError, which names the origin
    and the place, where the origin cannot be reached or gives other content.
    """
    root = folder() / wanted.name
    new_folders = [file for file in (root, *root.parents) if not file.exists()]
    with explained(root, "write there"):
        root.mkdir(parents=True, exist_ok=True)
    missing = [file for file in wanted.files if not wanted.is_here(file)]
    for file in wanted.files:
        place = wanted.place(file)
        if place.is_file() and not is_whole(place, file):
            raise UserError(
                f"{place}: not the content of {wanted.origin}; remove it and fetch again"
            )
    try:
        total = sum(file.bytes for file in missing)
        with Lock(root / LOCK), Progress(wanted.name, total) as bar:
            for file in missing:
                _download(wanted, file, host, bar)
    except UserError:
        _remove_empty(new_folders)
        raise
    return [wanted.place(file) for file in wanted.files]


def _remove_empty(folders: list[Path]) -> None:
    """Removes folders that were made for a data set of which nothing came."""
    with contextlib.suppress(OSError):
        for path in folders:
            if all(file.name.startswith(LOCK) for file in path.iterdir()):
                remove_lock(path / LOCK)
            path.rmdir()


def _download(published: PublishedSet, file: PublishedFile, host: str, bar: Progress) -> None:
    """Downloads one file; it has the suffix .part until it is complete and verified."""
    place = published.place(file)
    part = place.with_name(f"{place.name}.part")
    path = "/".join(
        segment
        for segment in (published.repository, published.commit, published.folder, file.path)
        if segment
    )
    address = f"{host}/{urllib.parse.quote(path)}"
    with explained(place, "write"):
        bytes_here = part.stat().st_size if part.exists() else 0
    try:
        if bytes_here < file.bytes:
            _append(address, part, bytes_here, file.bytes, bar)
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise UserError(
            f"lm-lab data fetch {published.name}: cannot read {address} ({reason}); bring the file "
            f"from {published.origin} to {place} by other means, or try again with a network"
        ) from None
    with explained(place, "write"):
        if not is_whole(part, file):
            part.unlink()
            raise UserError(
                f"lm-lab data fetch {published.name}: {address} gives other content than expected "
                f"({file.bytes:,} bytes, SHA-256 {file.sha256[:12]}...); try again"
            )
        part.replace(place)


def _append(address: str, part: Path, have: int, size: int, bar: Progress) -> None:
    """Downloads the missing end of a .part file, or all of it if the server supports no ranges."""
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        resumed = have and answer.status == 206
        bar.add(have if resumed else 0)
        with explained(part, "write"):
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("ab" if resumed else "wb") as file:
                for data in _received(answer):
                    file.write(data)
                    bar.add(len(data))
                    if file.tell() >= size:
                        return


def _received(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The content as it comes. Raises HTTPException where the connection breaks off before its
    end.
    """
    try:
        while data := answer.read(CHUNK):
            yield data
    except OSError as error:  # named apart from errors of the disk
        raise http.client.HTTPException(f"the connection broke off: {error}") from None
    if answer.length:
        raise http.client.HTTPException(f"the connection broke off {answer.length:,} bytes early")
