# /// script
# requires-python = ">=3.9"
# dependencies = []
# ///
"""What ordinary programs ask of the standard library, with no package besides."""

import asyncio
import base64
import bz2
import collections
import concurrent.futures
import contextlib
import contextvars
import csv
import dataclasses
import datetime
import decimal
import fractions
import functools
import gzip
import hashlib
import heapq
import hmac
import io
import itertools
import json
import logging
import lzma
import mmap
import os
import pathlib
import pickle
import pwd
import queue
import random
import re
import secrets
import select
import selectors
import shutil
import signal
import socket
import sqlite3
import ssl
import statistics
import struct
import sys
import tempfile
import textwrap
import threading
import time
import traceback
import uuid
import zipfile
import zlib
import zoneinfo
from xml.etree import ElementTree


def data_formats():
    row = {"name": "callgate", "sizes": [1, 2, 3], "text": "zażółć", "nested": {"none": None, "ok": True}}
    assert json.loads(json.dumps(row)) == row
    assert pickle.loads(pickle.dumps(row)) == row
    table = io.StringIO()
    csv.writer(table).writerows([["a", "b"], ["1", "two, three"]])
    assert list(csv.reader(io.StringIO(table.getvalue())))[1] == ["1", "two, three"]
    assert struct.unpack("<IhQ", struct.pack("<IhQ", 7, -7, 2**63)) == (7, -7, 2**63)
    tree = ElementTree.fromstring("<a><b n='1'/><b n='2'/></a>")
    assert [b.get("n") for b in tree.iter("b")] == ["1", "2"]
    return len(json.dumps(row, sort_keys=True))


def databases(directory):
    for name in (":memory:", str(directory / "rows.db")):
        with contextlib.closing(sqlite3.connect(name)) as db, db:
            db.execute("create table point (x integer primary key, y real)")
            db.executemany("insert into point values (?, ?)", ((n, n * 0.5) for n in range(1000)))
            db.commit()
            total = db.execute("select sum(y) from point where x % 2 = 0").fetchone()[0]
            # A sort bigger than its page cache spills to a temporary file.
            db.execute("pragma cache_size = 1")
            assert len(db.execute("select y from point order by -y").fetchall()) == 1000
    return total


def compression():
    text = b"the same words again and again " * 500
    for codec in (zlib, gzip, bz2, lzma):
        assert codec.decompress(codec.compress(text)) == text
    return len(text)


def digests():
    assert hmac.compare_digest(hmac.new(b"key", b"message", "sha256").digest(), hmac.digest(b"key", b"message", "sha256"))
    assert len(secrets.token_bytes(32)) == 32 and uuid.uuid4() != uuid.uuid4()
    assert base64.b64decode(base64.b64encode(b"\x00\xff")) == b"\x00\xff"
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 1000)
    return hashlib.sha256(b"callgate").hexdigest()[:16]


def tls():
    context = ssl.create_default_context()
    context.load_default_certs()
    assert context.verify_mode is ssl.CERT_REQUIRED
    return context.check_hostname


def times():
    berlin = "Europe/Berlin"
    # The tz database is the system's: a bare root may not carry one, and then there is only UTC.
    zone = zoneinfo.ZoneInfo(berlin) if berlin in zoneinfo.available_timezones() else datetime.timezone.utc
    moment = datetime.datetime(2024, 7, 1, 12, 0, tzinfo=datetime.timezone.utc)
    assert moment.astimezone(zone).astimezone(datetime.timezone.utc) == moment
    before = time.monotonic()
    time.sleep(0.01)
    assert time.monotonic() - before >= 0.01 and time.time() > 0 and time.process_time() > 0
    time.localtime()
    return moment.isoformat()


def numbers():
    numbers = random.Random(7)
    sample = [numbers.gauss(0, 1) for _ in range(1000)]
    random.random()
    with decimal.localcontext() as context:
        context.prec = 30
        root = decimal.Decimal(2).sqrt()
    assert fractions.Fraction(1, 3) + fractions.Fraction(1, 6) == fractions.Fraction(1, 2)
    assert heapq.nsmallest(1, sample)[0] == min(sample)
    return str(root), round(statistics.mean(sample), 6)


def files(directory):
    (directory / "a" / "b").mkdir(parents=True)
    for n in range(3):
        (directory / "a" / "b" / f"{n}.txt").write_text("line\n" * (n + 1), encoding="utf-8")
    found = sorted(path.name for path in directory.glob("**/*.txt"))
    shutil.copytree(directory / "a", directory / "c")
    shutil.move(str(directory / "c" / "b" / "0.txt"), str(directory / "moved.txt"))
    os.replace(directory / "moved.txt", directory / "replaced.txt")
    os.symlink("replaced.txt", directory / "link.txt")
    assert (directory / "link.txt").resolve().name == "replaced.txt"
    os.chmod(directory / "replaced.txt", 0o600)
    assert shutil.disk_usage(directory).total > 0
    with open(directory / "mapped", "w+b") as file:
        file.truncate(mmap.PAGESIZE)
        with mmap.mmap(file.fileno(), 0) as view:
            view[:5] = b"hello"
            view.flush()
        os.fsync(file.fileno())
        file.seek(0)
        assert file.read(5) == b"hello"
    with zipfile.ZipFile(directory / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((directory / "c").rglob("*.txt")):
            archive.write(path, path.name)
    assert zipfile.ZipFile(directory / "all.zip").testzip() is None
    archive = shutil.make_archive(str(directory / "tree"), "gztar", directory / "c")
    shutil.unpack_archive(archive, directory / "d")
    with tempfile.TemporaryFile() as file, tempfile.SpooledTemporaryFile(max_size=10) as spooled:
        file.write(b"x" * 100_000)
        spooled.write(b"y" * 100)
    shutil.rmtree(directory / "d")
    return found


def threads():
    jobs, done = queue.Queue(), []
    variable = contextvars.ContextVar("variable", default=0)

    def work():
        while (job := jobs.get()) is not None:
            variable.set(job)
            done.append(job * job)

    worker = threading.Thread(target=work, name="worker")
    worker.start()
    for n in range(10):
        jobs.put(n)
    jobs.put(None)
    worker.join(timeout=5)
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        lengths = list(pool.map(len, ["a", "bb", "ccc"]))
    assert variable.get() == 0
    return sum(done), lengths


def descriptors():
    left, right = socket.socketpair()
    with left, right, selectors.DefaultSelector() as selector:
        selector.register(right, selectors.EVENT_READ)
        assert selector.select(timeout=0) == []
        left.sendall(b"ping")
        assert len(selector.select(timeout=1)) == 1
        assert select.select([right], [], [], 1)[0] == [right]
        received = right.recv(16)
    read, write = os.pipe()
    poll = select.poll()
    poll.register(read, select.POLLIN)
    os.write(write, b"pong")
    assert poll.poll(1000)
    received += os.read(read, 16)
    os.close(read)
    os.close(write)
    return received.decode()


async def tick(n):
    await asyncio.sleep(0.005 * n)
    return n


async def coroutines():
    loop = asyncio.get_running_loop()
    blocking = await loop.run_in_executor(None, functools.partial(sum, range(100)))
    ticks = await asyncio.gather(*(tick(n) for n in range(4)))
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.sleep(5), timeout=0.01)
    return blocking, ticks


def process():
    entry = pwd.getpwuid(os.getuid())
    assert entry.pw_uid == os.getuid() and entry.pw_name
    assert os.getpid() > 0 and os.getcwd() and os.cpu_count()
    assert sys.version_info >= (3, 9) and os.uname().sysname == "Linux"
    caught = []
    previous = signal.signal(signal.SIGALRM, lambda number, frame: caught.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    while not caught:
        time.sleep(0.005)
    signal.signal(signal.SIGALRM, previous)
    return caught == [signal.SIGALRM]


@dataclasses.dataclass(order=True)
class Word:
    count: int
    text: str


def texts():
    counts = collections.Counter(re.findall(r"\w+", "the quick fox, the slow fox; the end"))
    top = max(Word(count, text) for text, count in counts.items())
    stream = io.StringIO()
    logger = logging.getLogger("probe")
    logger.addHandler(logging.StreamHandler(stream))
    try:
        raise ValueError("expected")
    except ValueError:
        logger.exception("caught")
        assert "expected" in traceback.format_exc()
    assert "ValueError: expected" in stream.getvalue()
    return textwrap.shorten(f"{top.text} {top.count} {''.join(itertools.islice(itertools.cycle('ab'), 5))}", 20)


def main():
    print("formats:", data_formats())
    with tempfile.TemporaryDirectory(prefix="stdlib-") as name:
        directory = pathlib.Path(name)
        print("databases:", databases(directory))
        print("files:", *files(directory))
    print("compression:", compression())
    print("digests:", digests())
    print("tls:", tls())
    print("times:", times())
    print("numbers:", *numbers())
    print("threads:", *threads())
    print("descriptors:", descriptors())
    print("coroutines:", *asyncio.run(coroutines()))
    print("process:", process())
    print("texts:", texts())
    print("ok: the standard library works")


main()
