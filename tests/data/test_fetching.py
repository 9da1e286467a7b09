"""Data sets brought from a server on this machine: resumed, verified, refused in a line."""

import contextlib
import hashlib
import http.server
import socket
import struct
import threading
from functools import partial
from pathlib import Path

import pytest

from lm_lab.cli import main
from lm_lab.data import fetching, published
from lm_lab.types import UserError

TEXTS = {"a.txt": b"a" * 1000, "deep/b c.txt": bytes(range(256)) * 9}


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves the rest of a file where a range is asked for, as GitHub does."""

    asked: list[str | None] = []

    def do_GET(self):
        asked = self.headers.get("Range")
        self.asked.append(asked)
        content = Path(self.translate_path(self.path)).read_bytes()
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.end_headers()
        self.wfile.write(content[first:])

    def log_message(self, *_):
        pass


class NoRanges(http.server.SimpleHTTPRequestHandler):
    """Serves whole files alone."""

    def log_message(self, *_):
        pass


class BreaksOff(Ranges):
    """Sends 400 bytes of a file and closes the connection, the first time; then as Ranges."""

    def do_GET(self):
        if self.asked:
            super().do_GET()
        else:
            self.asked.append(None)
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"a" * 400)


class Resets(http.server.SimpleHTTPRequestHandler):
    """Resets the connection without an answer."""

    def handle(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


@pytest.fixture
def wanted(tmp_path, monkeypatch):
    monkeypatch.setenv("LM_LAB_DATA", str(tmp_path / "data"))
    files = []
    for path, content in TEXTS.items():
        place = tmp_path / "web/me/set/abc/raw" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        files.append(published.PublishedFile(path, len(content), sha256))
    return published.PublishedSet("set", "me/set", "abc", "raw", "none", "letters", [], files)


@contextlib.contextmanager
def serving(kind, tmp_path):
    Ranges.asked.clear()
    handler = partial(kind, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(params=[Ranges, NoRanges])
def host(request, tmp_path):
    with serving(request.param, tmp_path) as address:
        yield address


def test_files_are_brought_once_and_verified(wanted, host, tmp_path):
    assert [place.read_bytes() for place in fetching.fetch(wanted, host)] == [*TEXTS.values()]
    asked = len(Ranges.asked)
    fetching.fetch(wanted, host)
    assert len(Ranges.asked) == asked
    (tmp_path / "data/set/a.txt").write_bytes(b"b" * 1000)
    with pytest.raises(UserError, match=r"a\.txt: not the content of github\.com/me/set"):
        fetching.fetch(wanted, host)


def test_a_download_that_broke_off_goes_on(wanted, host, tmp_path):
    part = tmp_path / "data/set/a.txt.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"a" * 400)
    assert fetching.fetch(wanted, host)[0].read_bytes() == TEXTS["a.txt"]
    assert not part.exists()
    assert Ranges.asked in (["bytes=400-", None], [])


def test_a_connection_that_closes_early_keeps_what_came(wanted, tmp_path):
    with serving(BreaksOff, tmp_path) as host:
        with pytest.raises(
            UserError, match=r"cannot read .*\(the connection broke off 600 bytes ea"
        ):
            fetching.fetch(wanted, host)
        assert fetching.fetch(wanted, host)[0].read_bytes() == TEXTS["a.txt"]
    assert Ranges.asked == [None, "bytes=400-", None]
    wanted.place(wanted.files[0]).unlink()
    with (
        serving(Resets, tmp_path) as host,
        pytest.raises(UserError, match=r"cannot read .* reset by"),
    ):
        fetching.fetch(wanted, host)


def test_other_content_is_refused_and_removed(wanted, host, tmp_path):
    (tmp_path / "web/me/set/abc/raw/a.txt").write_bytes(b"x" * 1000)
    with pytest.raises(UserError, match="gives other content than expected"):
        fetching.fetch(wanted, host)
    assert not list((tmp_path / "data").rglob("a.txt*"))


def test_without_a_network_one_line_says_origin_and_place(wanted, tmp_path):
    with pytest.raises(UserError) as caught:
        fetching.fetch(wanted, "http://127.0.0.1:9")
    assert "cannot read http://127.0.0.1:9/me/set/abc/raw/a.txt (" in str(caught.value)
    assert f"from github.com/me/set, raw to {tmp_path / 'data/set/a.txt'}" in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_a_packed_file_is_here(wanted):
    place = wanted.place(wanted.files[0])
    place.parent.mkdir(parents=True)
    place.with_name("a.txt.gz").touch()
    assert [wanted.is_here(file) for file in wanted.files] == [True, False]


def test_the_table_and_its_errors(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LM_LAB_DATA", str(tmp_path))
    assert main.dispatch(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["name", "here", "size"]
    rows = [line.split()[0] for line in lines[1:-1] if not line.startswith(" ")]
    assert rows == list(published.sets())
    assert max(map(len, lines[:-1])) <= 100
    for argv, fault in ((["fetch", "scam"], "did you mean 'scan'"), (["get"], "data --help")):
        with pytest.raises(UserError, match=fault):
            main.dispatch(["data", *argv])


def test_configs_name_the_sets_that_they_are_listed_with():
    root = Path(__file__).parents[2]
    for name, each in published.sets().items():
        for config in each.used_by:
            text = (root / config).read_text()
            assert name in text or "shakespeare_char" in text


@pytest.mark.data
def test_the_sums_are_those_of_the_data(shared_data, monkeypatch):
    monkeypatch.setenv("LM_LAB_DATA", str(shared_data))
    for each in published.sets().values():
        for file in each.files:
            place = each.place(file)
            assert each.is_here(file)
            assert not place.exists() or published.is_whole(place, file)
