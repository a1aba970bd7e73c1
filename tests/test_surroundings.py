"""Proxies and certificates of the environment count for the login and for every request after it; and two logins."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from urllib.parse import urlsplit

import pytest
from roads import SOURCE, as_

from xnbtransfer.errors import InputError, LoginError
from xnbtransfer.xnat import connect, connect_sides


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@contextlib.contextmanager
def door(url: str, wrap=lambda one: one):
    """A port that passes bytes on to the server, as a proxy does with requests for plain HTTP; yields it."""
    target = urlsplit(url)

    def pipe(one, other) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listening.accept()
                threading.Thread(target=pass_on, args=(plain,), daemon=True).start()

    def pass_on(plain) -> None:
        with contextlib.suppress(OSError):
            there = socket.create_connection((target.hostname, target.port))
            here = wrap(plain)
            back = threading.Thread(target=pipe, args=(there, here), daemon=True)
            back.start()
            pipe(here, there)
            back.join()
            here.close()
            there.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


def test_a_proxy_of_the_environment_carries_every_request(demo_xnat, monkeypatch):
    user, password = demo_xnat.accounts["member"]
    with door(demo_xnat.url) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        # no such host: only through the proxy can it be reached
        with connect(server="http://xnat.invalid", user=user, password=password, prompt=False) as found:
            expected = found.subjects(SOURCE)
            row = next(row for row in found.sessions(SOURCE) if not row["shared"])
            with found.open_scan(row["session_id"], "1", "DICOM") as chunks:
                assert sum(map(len, chunks)) > 0
    monkeypatch.delenv("HTTP_PROXY")
    with as_(demo_xnat) as direct:
        assert direct.subjects(SOURCE) == expected


def test_a_host_that_needs_no_proxy_is_asked_directly(demo_xnat, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with as_(demo_xnat) as found:
        assert found.subjects(SOURCE)


def test_certificates_of_the_site_are_named_in_the_environment(demo_xnat, monkeypatch, tmp_path):
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("no openssl to make a certificate with")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(words, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    user, password = demo_xnat.accounts["member"]
    with door(demo_xnat.url, lambda plain: context.wrap_socket(plain, server_side=True)) as port:
        asked = {"server": f"https://127.0.0.1:{port}", "user": user, "password": password, "prompt": False}
        with pytest.raises(InputError, match="REQUESTS_CA_BUNDLE"):
            connect(**asked)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cert))
        with connect(**asked) as found:
            assert found.subjects(SOURCE)


def test_both_sides_log_in_each_as_its_own_user_and_a_login_beside_a_failed_one_is_ended(demo_xnat, monkeypatch):
    for side, role in (("SOURCE", "member"), ("DESTINATION", "owner")):
        user, password = demo_xnat.accounts[role]
        monkeypatch.setenv(f"XNAT_{side}_USER", user)
        monkeypatch.setenv(f"XNAT_{side}_PASS", password)
    before = len(demo_xnat.log())
    with connect_sides(demo_xnat.url, demo_xnat.url) as (source, destination):
        assert (source.user, destination.user) == (demo_xnat.accounts["member"][0], demo_xnat.accounts["owner"][0])
    ended = [one["user"] for one in demo_xnat.log()[before:] if one["method"] == "DELETE"]
    assert sorted(ended) == sorted([source.user, destination.user])
    for side in ("SOURCE", "DESTINATION"):
        with monkeypatch.context() as patch:
            patch.setenv(f"XNAT_{side}_PASS", "wrong")
            before = len(demo_xnat.log())
            with pytest.raises(LoginError):
                connect_sides(demo_xnat.url, demo_xnat.url)
        ended = [one for one in demo_xnat.log()[before:] if one["method"] == "DELETE"]
        assert [one["path"] for one in ended] == ["/data/JSESSION"]
