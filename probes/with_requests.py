# /// script
# requires-python = ">=3.9"
# dependencies = ["requests"]
# ///
"""requests without a network: sessions, cookies, redirects, streams and TLS set-up over an adapter in memory."""

import gzip
import http.client
import io
import json
import os
import ssl
import tempfile

import certifi
import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.util import Retry


class Wire:
    """The server's bytes where http.client expects a socket."""

    def __init__(self, status, headers, body):
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
        self.bytes = head.encode("latin-1") + body

    def makefile(self, _mode):
        return io.BytesIO(self.bytes)


class MemoryAdapter(BaseAdapter):
    """Answers in the server's place; the answer is parsed by http.client and urllib3 as one from a socket is."""

    def __init__(self):
        super().__init__()
        self.served = []

    def send(self, request, **_options):
        self.served.append(f"{request.method} {request.path_url}")
        status, headers, body = "200 OK", {"Content-Type": "application/json"}, b""
        if request.path_url == "/login":
            status, headers = "302 Found", {"Location": "/account", "Set-Cookie": "token=abc; Path=/"}
        elif request.path_url == "/missing":
            status = "404 Not Found"
        elif request.path_url == "/download":
            headers, body = {"Content-Encoding": "gzip"}, gzip.compress(b"chunk" * 20_000)
        else:
            body = json.dumps({name: request.headers.get(name) for name in ("Cookie", "Authorization")}).encode()
        answer = http.client.HTTPResponse(Wire(status, headers, body), method=request.method)
        answer.begin()
        raw = urllib3.HTTPResponse(
            body=answer,
            headers=answer.msg.items(),
            status=answer.status,
            reason=answer.reason,
            original_response=answer,
            preload_content=False,
        )
        return HTTPAdapter().build_response(request, raw)

    def close(self):
        self.served.clear()


def session(adapter):
    made = requests.Session()
    made.trust_env = False
    made.mount("http://", adapter)
    made.mount("https://", HTTPAdapter(max_retries=Retry(total=3, backoff_factor=0.1, status_forcelist=[502])))
    return made


def prepared():
    request = requests.Request(
        "POST",
        "https://example.invalid/search",
        params={"q": ["a b", "ż"], "page": 2},
        files={"file": ("a.txt", io.BytesIO(b"content"), "text/plain")},
        data={"field": "value"},
    ).prepare()
    assert request.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert b'filename="a.txt"' in request.body
    return request.url


def exchange():
    adapter = MemoryAdapter()
    with session(adapter) as client:
        account = client.post("http://memory.invalid/login", json={"user": "ada"}, auth=("ada", "secret"))
        assert [hop.status_code for hop in account.history] == [302]
        assert account.json()["Cookie"] == "token=abc" and client.cookies["token"] == "abc"
        assert account.json()["Authorization"].startswith("Basic ")
        try:
            client.get("http://memory.invalid/missing").raise_for_status()
            raise AssertionError("a 404 passed for a success")
        except requests.HTTPError as error:
            assert error.response.status_code == 404
        with tempfile.TemporaryFile() as file, client.get("http://memory.invalid/download", stream=True) as download:
            size = sum(file.write(chunk) for chunk in download.iter_content(8192))
        return adapter.served.copy(), size


def trust():
    context = ssl.create_default_context(cafile=certifi.where())
    assert context.verify_mode is ssl.CERT_REQUIRED and len(context.get_ca_certs()) > 50
    assert os.path.getsize(requests.certs.where()) > 100_000
    urllib3.util.ssl_.create_urllib3_context()
    with urllib3.PoolManager(cert_reqs="CERT_REQUIRED", ca_certs=certifi.where()) as pool:
        pool.connection_from_url("https://example.invalid/")
        return len(pool.pools)


print("prepared:", prepared())
print("exchange:", *exchange())
print("trust:", trust())
print("encoding:", requests.utils.guess_json_utf('{"a": 1}'.encode("utf-16")), requests.codes.teapot)
print("ok: requests works")
