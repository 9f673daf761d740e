"""Downloads from a server of this test, with all that goes wrong with them."""

import hashlib
import http.server
import os
import pathlib
import threading

import pytest

from keras_dense._weights import fetch as module
from keras_dense._weights.fetch import Remote, cache_folder, fetch

pytestmark = pytest.mark.once

CONTENT = bytes(range(256)) * 400
HASH = hashlib.sha256(CONTENT).hexdigest()
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>no weights</body></html>"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path.startswith("/forbidden"):
            return self.send_error(403)
        if self.path.startswith("/gone"):
            return self.send_error(404)
        content = PAGE if self.path.startswith("/page") else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.path.startswith("/broken"):
            content = content[: len(content) // 2]
        elif self.path.startswith("/sometimes") and len(self.server.asked) == 1:
            content = content[:100]
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A function from a path to its URL; `asked` lists the requests."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever)
        thread.start()

        def url(path):
            return f"http://127.0.0.1:{running.server_port}/{path}"

        url.asked = running.asked
        yield url
        running.shutdown()
        thread.join()


def left():
    return sorted(p.name for p in cache_folder().iterdir())


def test_downloads_once(server):
    remote = Remote("a/net", (server("whole/net.pth"),), size=len(CONTENT), hash=HASH[:8])
    path = fetch(remote)
    assert path == cache_folder() / "net.pth" and path.read_bytes() == CONTENT
    assert fetch(remote) == path and server.asked == ["/whole/net.pth"]
    assert left() == ["net.pth"]


@pytest.mark.parametrize("digest", [HASH, HASH.upper(), hashlib.md5(CONTENT).hexdigest()])
def test_whole_hashes(server, digest):
    if digest.isupper():
        digest = digest[:8]
    assert fetch(Remote("a", (server("whole/n.pth"),), hash=digest)).read_bytes() == CONTENT


def test_a_mirror_helps(server, capsys):
    places = ("gone", "broken", "page", "whole")
    urls = [server(f"{place}/net.pth") for place in places]
    assert fetch(Remote("a", urls, size=len(CONTENT), hash=HASH[:8])).read_bytes() == CONTENT
    assert server.asked == [f"/{place}/net.pth" for place in places]
    assert left() == ["net.pth"]


def test_bad_places_are_told_one_by_one(server):
    places = ("forbidden", "gone", "broken", "page")
    urls = [server(f"{place}/net.pth") for place in places]
    with pytest.raises(ConnectionError, match="'a/net' could not be downloaded") as caught:
        fetch(Remote("a/net", urls, size=len(CONTENT), hash=HASH[:8]))
    text = str(caught.value)
    assert "403 -- Forbidden" in text and "404 -- Not Found" in text
    assert f"retrieval incomplete: got only {len(CONTENT) // 2} out of {len(CONTENT)}" in text
    assert "the answer is a web page ('Sign in'), not the file" in text
    assert f"with a browser from {urls[0]}, and pass it" in text
    assert "kd.weights.pretrained('a/net', path='…/net.pth')" in text
    assert "HTTPS_PROXY" in text and str(cache_folder() / "net.pth") in text
    assert left() == []


def test_bad_hash(server):
    remote = Remote("a", (server("whole/net.pth"),), size=len(CONTENT), hash="0123abcd")
    with pytest.raises(
        ConnectionError, match="must begin with 0123abcd, but begins with"
    ) as caught:
        fetch(remote)
    assert f"{HASH[:8]}; it has 102,400 bytes, about as many as expected" in str(caught.value)
    assert left() == []
    with pytest.raises(ConnectionError, match="102,400 bytes instead of about 204,800: truncated"):
        fetch(Remote("a", remote.urls, size=2 * len(CONTENT), hash="0123abcd"))
    with pytest.raises(ConnectionError, match="102,400 bytes instead of about 204,800: truncated"):
        fetch(Remote("a", remote.urls, size=2 * len(CONTENT)))


def test_untrusted_hashes_warn(server):
    remote = Remote("a", (server("whole/net.pth"),), hash="0123abcd", trusted=False)
    with pytest.warns(UserWarning, match="may be another one than published: its SHA-256"):
        assert fetch(remote).read_bytes() == CONTENT


def test_an_interrupted_download_starts_again(server, monkeypatch):
    remote = Remote("a", (server("sometimes/net.pth"),), size=len(CONTENT))
    with pytest.raises(ConnectionError, match="retrieval incomplete"):
        fetch(remote)
    assert left() == []
    # A kill leaves a part under a name of its own, which is never taken for the file.
    part = cache_folder() / ".net.pth.killed.part"
    part.write_bytes(CONTENT[:50])
    assert fetch(remote).read_bytes() == CONTENT
    assert part.exists()
    os.utime(part, (0, 0))
    (cache_folder() / "net.pth").write_bytes(CONTENT[:300])
    assert fetch(remote).read_bytes() == CONTENT
    assert left() == ["net.pth"]
    # Ctrl-C leaves nothing.
    (cache_folder() / "net.pth").unlink()

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.keras.utils, "get_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(remote)
    assert left() == []


def test_bad_network(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    # A port that is closed; a proxy, as urllib takes it from the environment, that is not there.
    with pytest.raises(ConnectionError, match="[Cc]onnection refused"):
        fetch(Remote("a", ("http://127.0.0.1:9/net.pth",)))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ConnectionError, match="HTTPS_PROXY"):
        fetch(Remote("a", ("http://example.org/net.pth",)))
    with pytest.raises(ConnectionError, match="No place is known that has the file of 'a'"):
        fetch(Remote("a", ()))

    def expired(*args, **kwargs):
        raise Exception("URL fetch failure on u: None -- certificate verify failed: expired")

    monkeypatch.setattr(module.keras.utils, "get_file", expired)
    with pytest.raises(ConnectionError, match="that this computer does not know"):
        fetch(Remote("a", ("https://example.org/net.pth",)))


def test_terms_are_printed_once_and_kept(server, capsys):
    remote = Remote("a", (server("whole/net.pth"),), notice="For research only.")
    for _ in range(2):
        fetch(remote)
    assert capsys.readouterr().out.count("For research only.") == 1
    assert (cache_folder() / "net.pth.license.txt").read_text() == "For research only.\n"


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    assert cache_folder().name == "keras_dense" and cache_folder() != pathlib.Path(tmp_path)
