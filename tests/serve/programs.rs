//! What dify-sandbox's own integration tests run (tests/integration_tests at a94a466), in our words: each ends
//! at least as well here. Here Python without a network;
//!
//! - [`javascript`]: those for Node.js;
//! - [`network`]: `requests` and `httpx`, to a server on this machine, and through the proxy of the configuration.

mod javascript;
mod network;

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::server::{Server, Setup};
use crate::fit::can_install;
use crate::support::{available, callgate, expect, root, scratch};

/// An interpreter with what their image has.
fn interpreter() -> &'static str {
    static FOUND: OnceLock<String> = OnceLock::new();
    FOUND.get_or_init(|| {
        let dir = scratch();
        let script = dir.path().join("needs.py");
        let text = "# /// script\n# dependencies = [\"httpx\", \"jinja2\", \"numpy\", \"pandas\", \"requests\", \"tzdata\"]\n# ///\nprint('made')\n";
        std::fs::write(&script, text).unwrap();
        let trace = dir.path().join("trace.json");
        expect(0, callgate(["dig", "-o"]).arg(&trace).arg(&script));
        let trace: Value = serde_json::from_slice(&std::fs::read(&trace).unwrap()).unwrap();
        trace["python"]["executable"].as_str().unwrap().to_owned()
    })
}

/// A server with that interpreter.
fn server(variables: &[(&str, &str)]) -> Option<Server> {
    if !available("root", root()) || !can_install() {
        return None;
    }
    let mut setup = Setup::new(&["--python", interpreter()]).env("WORKER_TIMEOUT", "30");
    for (name, value) in variables {
        setup = setup.env(name, value);
    }
    Some(setup.ready())
}

/// The data of a run with more fields than the code.
fn data(server: &Server, code: &str, more: &Value) -> Value {
    let (status, answer) = server.ask(code, more);
    assert_eq!((status, &answer["code"]), (200, &json!(0)), "{answer:#}");
    answer["data"].clone()
}

/// The output of a program that ends well.
fn output(server: &Server, code: &str) -> String {
    ended_well(&server.run(code))
}

/// The output of a run that ended well.
fn ended_well(data: &Value) -> String {
    assert_eq!(
        (&data["exit_code"], &data["error"], &data["stderr"]),
        (&json!(0), &json!(""), &json!("")),
        "{data:#}"
    );
    data["stdout"].as_str().unwrap().to_owned()
}

/// What every program that fails has in common: its exit code and its standard error are in `error`.
fn failed(data: &Value) {
    let error = data["error"].as_str().unwrap();
    assert!(error.starts_with("process exited with code "), "{data:#}");
    assert!(error.ends_with(data["stderr"].as_str().unwrap()), "{data:#}");
    assert_ne!(data["exit_code"], 0, "{data:#}");
}

/// The text that dify puts around the code of a node: inputs and result as base64 and JSON.
const NODE: &str = "
def main(rows, name):
    return {'total': sum(rows), 'greeting': f'hello {name}'}

import json
from base64 import b64decode
given = json.loads(b64decode('eyJyb3dzIjogWzEsIDIsIDM5XSwgIm5hbWUiOiAid29ybGQifQ==').decode())
print('<<RESULT>>' + json.dumps(main(**given), indent=4) + '<<RESULT>>')
";

/// A long result as JSON: as many texts, and as long ones, as theirs has.
const LARGE: &str = "
import base64, json
text = base64.b64encode(bytes(range(256)) * 9).decode()
lengths = [0] * 3 + [1800] + [2400] * 2 + [3000] * 18
made = [text[:length] for length in lengths * 5]
print('<<RESULT>>', json.dumps({'result': made}, indent=4), '<<RESULT>>', sep='\\n')
";

#[test]
fn ordinary_programs_end_well() {
    let Some(server) = server(&[]) else { return };
    let base64 = "import base64\nprint(base64.b64decode(base64.b64encode(b'hello world')).decode())";
    let json = "import json\nprint(json.dumps({'hello': 'world'}))";
    for _ in 0..10 {
        assert_eq!(output(&server, base64), "hello world\n");
        assert_eq!(output(&server, json), "{\"hello\": \"world\"}\n");
    }
    assert_eq!(
        output(&server, NODE),
        "<<RESULT>>{\n    \"total\": 42,\n    \"greeting\": \"hello world\"\n}<<RESULT>>\n"
    );
    for _ in 0..3 {
        assert_eq!(output(&server, LARGE).len(), 304_487);
    }
    let zone = "from datetime import datetime\nfrom zoneinfo import ZoneInfo\n\
                print(datetime(2024, 1, 1, tzinfo=ZoneInfo('Asia/Shanghai')).isoformat())";
    assert_eq!(output(&server, zone), "2024-01-01T00:00:00+08:00\n");
    let at_exit = "import atexit, os, pwd\natexit.register(lambda: print(pwd.getpwuid(os.getuid()).pw_name))";
    assert_eq!(output(&server, at_exit), "sandbox\n");
}

#[test]
fn packages_that_their_image_has_run_with_stock_settings() {
    let Some(server) = server(&[]) else { return };
    let jinja = "from jinja2 import Template\n\
                 print(Template('{% for n in names %}hello {{ n }};{% endfor %}').render(names=['a', 'b']))";
    assert_eq!(output(&server, jinja), "hello a;hello b;\n");
    let numpy = "import numpy as np\nprint(int((np.arange(6).reshape(2, 3) @ np.ones((3, 2))).sum()))";
    assert_eq!(output(&server, numpy), "30\n");
    let pandas = "import pandas as pd\n\
                  print(pd.DataFrame({'k': ['a', 'b', 'a'], 'v': [1, 2, 3]}).groupby('k').v.sum().to_dict())";
    assert_eq!(output(&server, pandas), "{'a': 4, 'b': 2}\n");
    let files = "import tempfile, threading\nwith tempfile.TemporaryFile() as f: f.write(b'x')\n\
                 done = []\nthread = threading.Thread(target=done.append, args=(1,))\nthread.start()\nthread.join()\nprint(done)";
    assert_eq!(output(&server, files), "[1]\n");
}

#[test]
fn streams_and_exceptions_are_where_they_belong() {
    let Some(server) = server(&[]) else { return };
    let logs = "import logging\nlogging.basicConfig(level=logging.INFO)\nlogging.info('begun')\nprint('ok')";
    let data = server.run(logs);
    assert_eq!(
        (
            &data["stdout"],
            &data["stderr"],
            &data["error"],
            &data["exit_code"]
        ),
        (&json!("ok\n"), &json!("INFO:root:begun\n"), &json!(""), &json!(0))
    );
    let data = server.run("raise ValueError('bad input')");
    failed(&data);
    assert!(
        data["stderr"]
            .as_str()
            .unwrap()
            .ends_with("ValueError: bad input\n"),
        "{data:#}"
    );
    assert_eq!(data["exit_code"], 255);
}

#[test]
fn what_is_refused_is_refused_and_said() {
    let Some(server) = server(&[]) else { return };
    // Other programs: theirs are killed without a word; here the code is told, and none is executed.
    for code in [
        "import os\nos.execl('/bin/ls', 'ls')",
        "import subprocess\nsubprocess.run(['ls', '-l'])",
        "import os\nprint(os.system('ls /'))",
        "import os\nos.fork()",
    ] {
        let data = server.run(code);
        if data["exit_code"] == 0 {
            // system(3) tells by its result: 127, as nothing could be executed.
            assert_eq!(data["stdout"], "32512\n", "{code}: {data:#}");
            continue;
        }
        failed(&data);
        let error = data["error"].as_str().unwrap().to_lowercase();
        assert!(error.contains("operation not permitted"), "{code}: {data:#}");
    }
    // Nothing of the host's accounts is seen.
    let passwd = server.run("print(open('/etc/passwd').read())");
    let names: Vec<&str> = passwd["stdout"]
        .as_str()
        .unwrap()
        .lines()
        .filter_map(|line| line.split(':').next())
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names, ["sandbox", "root", "nobody"], "{passwd:#}");
    let shadow = server.run("print(open('/etc/shadow').read())");
    failed(&shadow);
    assert!(
        shadow["stderr"]
            .as_str()
            .unwrap()
            .contains("No such file or directory"),
        "{shadow:#}"
    );
}

#[test]
fn a_fork_that_is_allowed_prints_on_both_sides() {
    let Some(server) = server(&[("ALLOWED_SYSCALLS", "clone,fork,vfork,wait4")]) else {
        return;
    };
    let code = "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint(min(pid, 1), flush=True)\nprint(123, flush=True)";
    assert_eq!(output(&server, code), "0\n123\n1\n123\n");
}
