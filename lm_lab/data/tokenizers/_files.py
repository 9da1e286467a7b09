"""Files of tokenizers that are made elsewhere, and what may be wrong with any of them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from lm_lab.runs import reading
from lm_lab.types import UserError
from lm_lab.values import hub_name

AGAIN = "fetch it again, or name another file"
POINTER = b"version https://git-lfs"  # how a file begins that Git LFS has not brought
MOST_IDS = 2**24
LONGEST = 2**16 - 1  # bytes of a token: Codec.bytes_of counts in u16


def content(where: str, path: str | Path, published: str = "tokenizer.json") -> bytes:
    """The content of a file; of a model of the hub such a file is called `published`. Raises
    UserError, which begins with `where`, if it cannot be read, is empty, or stands for one that was
    not brought.
    """
    try:
        data = reading.read_bytes(Path(path))
    except OSError as error:
        remedy = "name another file"
        if Path(path).is_dir():
            remedy = f"name a file in it, as {Path(path) / published}"
        elif name := hub_name(Path(path)):
            remedy = (
                "if it is a model of the Hugging Face hub, bring its file here by hf download "
                f"{name} {published} --local-dir=FOLDER, and name FOLDER/{published}"
            )
        raise UserError(f"{where}: cannot read: {error.strerror}; {remedy}") from None
    if not data:
        raise UserError(f"{where}: the file is empty; {AGAIN}")
    if data.startswith(POINTER):
        raise UserError(
            f"{where}: a pointer of Git LFS, and not the file itself; bring it with git lfs pull"
        )
    return data


def check_bytes(where: str, texts: Iterable[bytes], needed: Iterable[int]) -> None:
    """Raises UserError, which begins with `where`, if no token stands for one of the bytes alone:
    what its text has of them would be lost.
    """
    alone = {text[0] for text in texts if len(text) == 1}
    missing = [value for value in needed if value not in alone]
    if missing:
        raise UserError(
            f"{where}: has no token for byte 0x{missing[0]:02x}, so not every text could be "
            f"encoded; {AGAIN}"
        )


def texts_of_ids(where: str, texts: Mapping[int, bytes]) -> list[bytes]:
    """The text of every id from 0 to the largest, empty where there is none. Raises UserError,
    which begins with `where`, for an id that no vocabulary has, and for a text that is too long.
    """
    for number, text in texts.items():
        if type(number) is not int or not 0 <= number < MOST_IDS:
            raise UserError(
                f"{where}: has the id {number!r:.40}, and ids are whole numbers from 0 to "
                f"{MOST_IDS - 1:,}; {AGAIN}"
            )
        if len(text) > LONGEST:
            raise UserError(
                f"{where}: the token of id {number} has {len(text):,} bytes, and the longest may "
                f"have {LONGEST:,}; name another file"
            )
    return [texts.get(number, b"") for number in range(max(texts) + 1)]
