//! The standard library under the shipped policy `python`: the ordinary works, the rest fails cleanly.

use serde_json::{Value, json};

use super::{outcome, printed};
use crate::support::scratch;

/// Each line is a feature; what it prints last is the list of those that failed.
const FEATURES: &str = r#"
import json, sys, traceback
failed = {}
def feature(function):
    try:
        result = function()
        assert result is not False, result
    except BaseException:
        failed[function.__name__] = traceback.format_exc()
    return function

@feature
def json_and_re():
    import re
    return json.loads(json.dumps({"a": [1, 2.5, None]}))["a"][1] == 2.5 and re.sub(r"(\d+)", r"<\1>", "a1") == "a<1>"
@feature
def sqlite():
    import sqlite3
    with sqlite3.connect("/tmp/data.db") as db:
        db.execute("create table t (x)")
        db.executemany("insert into t values (?)", [(i,) for i in range(1000)])
    return db.execute("select sum(x) from t").fetchone()[0] == 499500
@feature
def tls_context():
    import ssl
    context = ssl.create_default_context()
    return context.verify_mode == ssl.CERT_REQUIRED
@feature
def certificates():
    import ssl
    return len(ssl.create_default_context().get_ca_certs()) > 50
@feature
def temporary_files():
    import shutil, tempfile
    with tempfile.TemporaryDirectory() as at, tempfile.TemporaryFile() as file:
        file.write(b"x" * 100000)
        shutil.copy2(__import__("os").__file__, at)
@feature
def threads():
    import concurrent.futures
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return sum(pool.map(lambda x: x * x, range(100))) == 328350
@feature
def event_loop():
    import asyncio
    async def main():
        await asyncio.gather(*(asyncio.sleep(0.01) for _ in range(10)))
        return await asyncio.to_thread(lambda: 42)
    return asyncio.run(main()) == 42
@feature
def time_zones():
    import datetime, zoneinfo
    return datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")).utcoffset() == datetime.timedelta(hours=2)
@feature
def user():
    import getpass, os, pwd
    return pwd.getpwuid(os.getuid()).pw_name == getpass.getuser() == "sandbox" and os.path.expanduser("~") == "/tmp"
@feature
def compression():
    import gzip, io, lzma, bz2, zipfile
    data = b"x" * 10000
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z: z.writestr("a", data)
    return gzip.decompress(gzip.compress(data)) == lzma.decompress(lzma.compress(data)) == bz2.decompress(bz2.compress(data)) == data
@feature
def hashes_and_randomness():
    import hashlib, os, secrets, random, uuid
    return len(hashlib.sha256(os.urandom(16)).hexdigest()) == 64 and secrets.token_hex() != secrets.token_hex() and random.random() < 1 and uuid.uuid4()
@feature
def decimals_dates_and_statistics():
    import datetime, decimal, statistics, locale
    return decimal.Decimal("0.1") * 3 == decimal.Decimal("0.3") and statistics.mean([1, 2, 3]) == 2 and datetime.datetime.now().year > 2000
@feature
def signals_and_timers():
    import signal
    hits = []
    signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.pause()
    return hits == [1]
@feature
def mapped_memory():
    import mmap
    with mmap.mmap(-1, 1 << 20) as m:
        m[0] = 7
        return m[0] == 7
@feature
def resources():
    import os, resource, sys
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0 and os.cpu_count() and sys.getrecursionlimit()
@feature
def no_subprocess_but_an_exception():
    import subprocess
    try: subprocess.run(["/bin/true"])
    except OSError: return True
    return False
@feature
def no_fork_but_an_exception():
    import os
    try: os.fork()
    except OSError: return True
    return False
@feature
def no_network_but_an_exception():
    import urllib.request
    try: urllib.request.urlopen("https://example.com", timeout=5)
    except OSError: return True
    return False
@feature
def no_name_lookup_but_an_exception():
    import socket
    try: socket.getaddrinfo("example.com", 443)
    except OSError: return True
    return False
@feature
def no_multiprocessing_but_an_exception():
    import multiprocessing
    try:
        with multiprocessing.Pool(1) as pool: pool.map(abs, [1])
    except OSError: return True
    return False
print(json.dumps(failed))
"#;

#[test]
fn ordinary_features_work_and_the_others_fail_as_exceptions() {
    let outcome = outcome(&["--timeout", "60"], FEATURES);
    assert_eq!(outcome["violation"], Value::Null, "{outcome:#}");
    let failed = printed(&outcome);
    let failed = failed.as_object().unwrap();
    let told: Vec<String> = failed
        .iter()
        .map(|(name, trace)| format!("{name}: {}", trace.as_str().unwrap()))
        .collect();
    assert!(failed.is_empty(), "{}", told.join("\n"));
}

#[test]
fn another_interpreter_can_be_named() {
    let outcome = outcome(
        &["--python", "/usr/bin/python3"],
        "import sys\nprint(sys.base_prefix)\n",
    );
    assert_eq!(
        (&outcome["stdout"], &outcome["exit_code"]),
        (&json!("/usr\n"), &json!(0)),
        "{outcome:#}"
    );
}

#[test]
fn errors_look_as_python_shows_them() {
    let dir = scratch();
    let script = dir.path().join("fails.py");
    std::fs::write(&script, "def f():\n    raise ValueError('bad')\nf()\n").unwrap();
    let output = crate::support::callgate(["exec", "-q", script.to_str().unwrap()])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    let name = script.display();
    let shown = format!(
        "Traceback (most recent call last):\n  File \"{name}\", line 3, in <module>\n    f()\n  File \"{name}\", line 2, in f\n    raise ValueError('bad')\nValueError: bad\n"
    );
    assert!(stderr.starts_with(&shown), "{stderr}");
}
