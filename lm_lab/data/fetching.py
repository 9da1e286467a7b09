"""Downloads of published data sets from their origins, resumed where they broke off, verified."""

import contextlib
import http.client
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from lm_lab.data.progress import Progress
from lm_lab.data.published import PublishedFile, PublishedSet, folder, is_whole
from lm_lab.runs.durable import explained
from lm_lab.runs.locks import Lock
from lm_lab.types import UserError

HOST = "https://raw.githubusercontent.com"
SECONDS = 20  # without an answer, after which a download fails
CHUNK = 2**18


def fetch(wanted: PublishedSet, host: str = HOST) -> list[Path]:
    """Downloads the files of a data set to their places; files that are there already are verified.

    A download that breaks off goes on at the next call. Raises UserError, which names the origin
    and the place, where the origin cannot be reached or gives other content.
    """
    root = folder() / wanted.name
    absent = [each for each in (root, *root.parents) if not each.exists()]
    with explained(root, "write there"):
        root.mkdir(parents=True, exist_ok=True)
    missing = [each for each in wanted.files if not wanted.is_here(each)]
    for each in wanted.files:
        place = wanted.place(each)
        if place.is_file() and not is_whole(place, each):
            raise UserError(
                f"{place}: not the content of {wanted.origin}; remove it and fetch again"
            )
    try:
        total = sum(each.bytes for each in missing)
        with Lock(root / ".lock"), Progress(wanted.name, total) as bar:
            for each in missing:
                _download(wanted, each, host, bar)
    except UserError:
        _remove_empty(absent)
        raise
    return [wanted.place(each) for each in wanted.files]


def _remove_empty(made: list[Path]) -> None:
    """Removes folders that were made for a data set of which nothing came."""
    with contextlib.suppress(OSError):
        for each in made:
            if [file.name for file in each.iterdir()] == [".lock"]:
                (each / ".lock").unlink()
            each.rmdir()


def _download(wanted: PublishedSet, each: PublishedFile, host: str, bar: Progress) -> None:
    """Downloads one file; it has the suffix .part until it is complete and verified."""
    place = wanted.place(each)
    part = place.with_name(f"{place.name}.part")
    path = "/".join(x for x in (wanted.repository, wanted.commit, wanted.folder, each.path) if x)
    address = f"{host}/{urllib.parse.quote(path)}"
    with explained(place, "write"):
        have = part.stat().st_size if part.exists() else 0
    try:
        if have < each.bytes:
            _append(address, part, have, each.bytes, bar)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise UserError(
            f"lm-lab data fetch {wanted.name}: cannot read {address} ({reason}); bring the file "
            f"from {wanted.origin} to {place} by other means, or try again with a network"
        ) from None
    with explained(place, "write"):
        if not is_whole(part, each):
            part.unlink()
            raise UserError(
                f"lm-lab data fetch {wanted.name}: {address} gives other content than expected "
                f"({each.bytes:,} bytes, SHA-256 {each.sha256[:12]}...); try again"
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
                while file.tell() < size and (data := answer.read(CHUNK)):
                    file.write(data)
                    bar.add(len(data))
