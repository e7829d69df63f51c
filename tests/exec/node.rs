//! `--lang node`: JavaScript under the shipped policy `node`, in every form and at every tier.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::places::Place;
use super::{feed, outcome_of, printed, unique};
use crate::support::{available, callgate, expect, said, scratch, tool};

fn node() -> bool {
    available("node", tool("node"))
}

/// The outcome of `callgate exec --lang node --json FLAGS… -c CODE`.
fn outcome(flags: &[&str], code: &str) -> Value {
    let all = ["exec", "--lang", "node", "--json"];
    outcome_of(
        &callgate(all.iter().chain(flags).chain(&["-c", code]))
            .output()
            .unwrap(),
    )
}

#[test]
fn code_sees_what_a_file_of_its_name_would_see() {
    if !node() {
        return;
    }
    let dir = scratch();
    let script = dir.path().join("script.js");
    let code = "#!/usr/bin/env node\n\
                const path = require('path');\n\
                console.log(JSON.stringify({\n\
                \x20 argv: process.argv.slice(1), file: [__filename, __dirname], main: require.main === module,\n\
                \x20 own: [typeof fs, typeof file, typeof added, typeof exports, this === module.exports, process.execArgv.length],\n\
                \x20 helper: require('./lib/helper').answer, cwd: process.cwd(), env: Object.keys(process.env).sort(),\n\
                \x20 globals: Object.getOwnPropertyNames(globalThis).sort() }));\n";
    std::fs::write(&script, code).unwrap();
    let helper = dir.path().join("helper");
    std::fs::write(&helper, "exports.answer = 42;").unwrap();
    let helper = format!("--file=lib/helper.js={}", helper.display());
    let mut command = callgate(["exec", "--lang=node", "--json", &helper]);
    let outcome = outcome_of(&command.arg(&script).args(["--", "a b", "--c"]).output().unwrap());
    let mut seen = printed(&outcome);
    let globals = seen["globals"].take();
    assert_eq!(
        seen,
        json!({
            "argv": ["/tmp/script.js", "a b", "--c"], "file": ["/tmp/script.js", "/tmp"], "main": true,
            "own": ["undefined", "undefined", "undefined", "object", true, 0], "helper": 42, "cwd": "/tmp",
            "env": ["HOME", "LANG", "PATH", "USER"], "globals": null,
        })
    );
    let bare = "console.log(JSON.stringify(Object.getOwnPropertyNames(globalThis).sort()))";
    std::fs::write(&script, bare).unwrap();
    let bare = expect(0, Command::new("node").arg(&script));
    assert_eq!(globals, serde_json::from_slice::<Value>(&bare.stdout).unwrap());
    // The interpreter's own report names the line.
    std::fs::write(&script, "\n\nthrow new Error('mine')").unwrap();
    let output = callgate(["exec", "--lang=node"]).arg(&script).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("/tmp/script.js:3"), "{}", said(&output));
}

#[test]
fn every_form_runs_at_every_tier_and_no_byte_of_the_code_is_on_a_disk() {
    if !node() {
        return;
    }
    // Whatever of the host's disks the code can see, it is not there; nor among the words of a process.
    let mark = unique("secret");
    let code = format!(
        "const fs = require('fs'); const found = [];\n\
         const look = (at) => {{ for (const e of fs.readdirSync(at, {{withFileTypes: true}})) {{\n\
         \x20 const path = at + '/' + e.name;\n\
         \x20 if (e.isDirectory()) look(path); else if (e.isFile() && fs.readFileSync(path).includes('{mark}')) found.push(path); }} }};\n\
         for (const at of [process.cwd(), '/etc']) try {{ look(at); }} catch (e) {{ if (e.code !== 'EACCES') throw e; }}\n\
         const others = (() => {{ try {{ return fs.readFileSync('/proc/self/cmdline').includes('{mark}'); }} catch {{ return false; }} }})();\n\
         console.log(JSON.stringify([found, others, fs.readFileSync(0, 'utf8')]));"
    );
    for place in Place::all() {
        let outcome = place.outcome(&["--lang", "node"], &code);
        assert_eq!(
            printed(&outcome),
            json!([[], false, ""]),
            "{}: {outcome:#}",
            place.tier()
        );
        let layers = outcome["layers"].to_string();
        assert!(layers.contains("seccomp from the exec"), "{layers}");
    }
    let mut command = callgate([
        "exec",
        "--lang=node",
        "-q",
        "-c",
        "console.log(require('fs').readFileSync(0, 'utf8'))",
    ]);
    let output = feed(&mut command, b"input");
    assert_eq!(output.stdout, b"input\n", "{}", said(&output));
    let dir = scratch();
    let module = dir.path().join("module.mjs");
    std::fs::write(
        &module,
        "import os from 'node:os'; console.log(await Promise.resolve(os.EOL.length))",
    )
    .unwrap();
    let output = expect(0, callgate(["exec", "--lang=node", "-q"]).arg(&module));
    assert_eq!(output.stdout, b"1\n", "{}", said(&output));
}

/// What of Node.js is there to be used; each line prints its name, or throws.
const ORDINARY: &str = r#"
const fs = require('fs'), os = require('os'), path = require('path'), crypto = require('crypto'), zlib = require('zlib');
const { promisify } = require('util'), { Worker } = require('worker_threads');
const done = [];
(async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'n-')); process.chdir(dir);
  fs.writeFileSync('a', 'x'.repeat(100000)); fs.copyFileSync('a', 'b'); fs.renameSync('b', 'c'); fs.symlinkSync('a', 's');
  fs.realpathSync.native('s'); fs.chmodSync('c', 0o600); fs.utimesSync('c', 1, 2); fs.mkdirSync('x/y', { recursive: true });
  await fs.promises.cp('x', 'x2', { recursive: true }); await fs.promises.rm('x2', { recursive: true });
  for await (const entry of await fs.promises.opendir('.')) entry.isFile();
  done.push('files');
  const watched = new Promise((r) => { const w = fs.watch('.', () => { w.close(); r(); }); }); fs.writeFileSync('new', '1'); await watched;
  done.push('watch');
  await new Promise((r) => fs.createReadStream('a').pipe(zlib.createGzip()).pipe(fs.createWriteStream('a.gz')).on('close', r));
  await promisify(zlib.brotliCompress)('a'); done.push('streams');
  await promisify(crypto.scrypt)('a', 'b', 32); crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await crypto.subtle.digest('SHA-256', Buffer.from('a')); require('tls').createSecureContext(); done.push('crypto');
  const code = "require('worker_threads').parentPort.postMessage(Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20))";
  if (await new Promise((r) => new Worker(code, { eval: true }).on('message', r)) === 'timed-out') done.push('workers');
  const add = new Uint8Array([0,97,115,109,1,0,0,0,1,7,1,96,2,127,127,1,127,3,2,1,0,7,7,1,3,97,100,100,0,0,10,9,1,7,0,32,0,32,1,106,11]);
  if (new WebAssembly.Instance(new WebAssembly.Module(add)).exports.add(40, 2) === 42) done.push('wasm');
  let sum = 0; for (let i = 0; i < 3e6; i++) sum += ((x) => x % 7)(i); Buffer.alloc(50e6); done.push('jit');
  if (new Intl.DateTimeFormat('de', { timeZone: 'Asia/Tokyo', dateStyle: 'long' }).format(0).includes('Januar')) done.push('intl');
  os.cpus(); os.userInfo(); os.loadavg(); os.hostname(); process.resourceUsage(); process.cpuUsage(); done.push('os');
  const alive = setInterval(() => {}, 1000); // a handler alone does not keep the loop going
  const signalled = new Promise((r) => process.on('SIGUSR2', r)); process.kill(process.pid, 'SIGUSR2'); await signalled;
  clearInterval(alive); done.push('signals');
  await import('node:timers/promises').then((t) => t.setTimeout(5)); setImmediate(() => {}); done.push('timers');
  await new Response(new Blob(['a']).stream().pipeThrough(new CompressionStream('gzip'))).arrayBuffer(); done.push('web');
  console.log(JSON.stringify(done));
})();
"#;

#[test]
fn ordinary_programs_run_under_the_shipped_policy() {
    if !node() {
        return;
    }
    let outcome = outcome(&[], ORDINARY);
    assert_eq!(outcome["exit_code"], 0, "{outcome:#}");
    assert_eq!(
        printed(&outcome),
        json!([
            "files", "watch", "streams", "crypto", "workers", "wasm", "jit", "intl", "os", "signals",
            "timers", "web"
        ])
    );
}

#[test]
fn other_programs_users_and_networks_fail_so_that_the_code_can_say_so() {
    if !node() {
        return;
    }
    let code = "const cp = require('child_process'), net = require('net'), dns = require('dns');\n\
                const errno = (f) => { try { return f().error?.code ?? 'done'; } catch (e) { return e.code; } };\n\
                (async () => console.log(JSON.stringify([\n\
                \x20 errno(() => cp.spawnSync('ls')), errno(() => cp.execSync('ls')), errno(() => process.setuid(0)),\n\
                \x20 errno(() => require('fs').readFileSync('/etc/shadow')), errno(() => require('fs').mkdirSync('/x')),\n\
                \x20 await new Promise(r => net.connect(80, '127.0.0.1').on('error', e => r(e.code))),\n\
                \x20 await new Promise(r => net.createServer().on('error', e => r(e.code)).listen(0)),\n\
                \x20 await new Promise(r => dns.lookup('example.org', e => r(e.code)))])))()";
    let outcome = outcome(&[], code);
    assert_eq!(
        printed(&outcome),
        json!([
            "EPERM",
            "EPERM",
            "EPERM",
            "ENOENT",
            "EROFS",
            "EPERM",
            "EPERM",
            "EAI_AGAIN"
        ]),
        "{outcome:#}"
    );
}

#[test]
fn a_refused_call_limits_and_files_are_told_as_for_any_program() {
    if !node() {
        return;
    }
    // dify-sandbox locks its own launcher; from the exec on its list is not enough for Node.js to start.
    let told = outcome(&["--policy", "dify-nodejs"], "console.log(1)");
    assert_eq!(
        (&told["status"], &told["exit_code"]),
        (&json!("violation"), &json!(159)),
        "{told:#}"
    );
    assert_eq!(told["violation"]["site"], Value::Null);
    assert_eq!(told["stdout"], "");
    let told = outcome(&["--timeout", "1"], "for (;;);");
    assert_eq!(told["status"], "timeout", "{told:#}");
    let told = outcome(
        &["--memory", "128M"],
        "const a = []; for (;;) a.push('x'.repeat(1000) + a.length)",
    );
    assert!(
        ["oom", "signaled"].contains(&told["status"].as_str().unwrap()),
        "{told:#}"
    );
    let dir = scratch();
    let flag = format!("--out={}", dir.path().join("out").display());
    let told = outcome(&[&flag], "require('fs').writeFileSync('plot.svg', '<svg/>')");
    assert_eq!(
        told["out"]["files"],
        json!([{"name": "plot.svg", "bytes": 6}]),
        "{told:#}"
    );
}

#[test]
fn what_can_not_be_meant_is_refused() {
    if !node() {
        return;
    }
    for (args, word) in [
        (
            &["--lock", "body", "--", "node", "-v"][..],
            "--lock body is for scripts",
        ),
        (
            &["--lang", "node", "--", "node", "-v"],
            "a command after -- needs no --lang",
        ),
        (&["--lang", "perl", "-c", "1"], "perl"),
        (&["--lang", "node", "/nonexistent.js"], "/nonexistent.js"),
    ] {
        let output = expect(2, &mut callgate(["exec"].iter().chain(args)));
        assert!(said(&output).contains(word), "{}", said(&output));
    }
    let mut without = callgate(["exec", "--lang", "node", "-c", "1"]);
    let output = expect(127, without.env("PATH", "/nonexistent"));
    assert!(said(&output).contains("no node on the PATH"), "{}", said(&output));
    // A node that is none.
    let dir = scratch();
    let fake = dir.path().join("node");
    std::fs::write(&fake, "#!/bin/sh\necho no such option >&2; exit 9\n").unwrap();
    std::fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = callgate(["exec", "--lang", "node", "-c", "1"]);
    let output = expect(2, command.env("PATH", dir.path()));
    assert!(
        said(&output).contains("does not answer as Node.js does: no such option"),
        "{}",
        said(&output)
    );
}

#[test]
fn no_word_of_ours_loads_code_into_it() {
    if !node() {
        return;
    }
    let dir = scratch();
    let evil = dir.path().join("evil.js");
    std::fs::write(&evil, "console.log('evil')").unwrap();
    let options = format!("--require={}", evil.display());
    let mut command = callgate(["exec", "--lang", "node", "-q", "-c", "console.log(1)"]);
    let output = expect(
        0,
        command.env("NODE_OPTIONS", options).env("NODE_PATH", dir.path()),
    );
    assert_eq!(output.stdout, b"1\n", "{}", said(&output));
}

#[test]
fn servers_are_reached_on_the_hosts_network() {
    if !node() {
        return;
    }
    let code = "const http = require('http');\n\
                const server = http.createServer((q, a) => a.end('hello ' + q.url)).listen(0, 'localhost', async () => {\n\
                \x20 const url = `http://localhost:${server.address().port}/x`;\n\
                \x20 console.log(await (await fetch(url)).text());\n\
                \x20 http.get(url, r => r.on('data', d => { console.log(String(d)); server.close(); server.closeAllConnections(); })); });";
    let told = outcome(&["--net", "host"], code);
    assert_eq!(told["stdout"], "hello /x\nhello /x\n", "{told:#}");
    assert!(
        told["notes"].to_string().contains("policy is node-network"),
        "{told:#}"
    );
    let told = outcome(&[], code);
    assert_eq!(told["stdout"], "");
}

#[test]
fn a_command_that_is_node_has_its_files_and_a_traced_root_runs_it() {
    if !node() {
        return;
    }
    let dir = scratch();
    let (trace, root): (PathBuf, PathBuf) = (dir.path().join("trace.json"), dir.path().join("root"));
    let code = "console.log(new Intl.NumberFormat('de').format(1234.5))";
    let command = ["exec", "-q", "--policy=node", "--", "node", "-e", code];
    assert_eq!(expect(0, &mut callgate(command)).stdout, b"1.234,5\n");
    expect(
        0,
        callgate(["dig", "-o"])
            .arg(&trace)
            .args(["--", "node", "-e", code]),
    );
    expect(
        0,
        callgate(["root", "build"]).arg(&root).arg("--from").arg(&trace),
    );
    let at = format!("--root={}", root.display());
    assert_eq!(outcome(&[&at], code)["stdout"], "1.234,5\n");
    // One that was built for something else.
    let other = dir.path().join("other");
    expect(0, callgate(["dig", "-o"]).arg(&trace).args(["--", "/bin/true"]));
    expect(
        0,
        callgate(["root", "build"]).arg(&other).arg("--from").arg(&trace),
    );
    let output = expect(
        2,
        callgate(["exec", "--lang=node", "-c", "1", "--root"]).arg(&other),
    );
    assert!(
        said(&output).contains("there is no Node.js in"),
        "{}",
        said(&output)
    );
}

/// dify-sandbox's list for Node.js is for what comes after start-up: neither its loader's nor its own calls are in it.
#[test]
fn locked_at_the_body_dify_sandboxs_list_is_enough_and_holds_from_the_first_statement_at_every_tier() {
    if !node() {
        return;
    }
    let flags = [
        "--lang",
        "node",
        "--lock",
        "body",
        "--policy",
        "dify-nodejs",
        "--env",
        "A=b",
    ];
    let code = "require('fs').mkdirSync('made')";
    for place in Place::all() {
        let run = |code: &str| {
            let mut command = place.command(&flags);
            outcome_of(&feed(&mut command, code.as_bytes()))
        };
        let seen = run("const all = []; for (let i = 0; i < 1e5; i++) all.push({i});\n\
                        setTimeout(() => console.log('later', process.argv.length), 20);\n\
                        console.log(all.length, process.env.A, require.main === module)");
        assert_eq!(
            (&seen["exit_code"], &seen["stdout"]),
            (&json!(0), &json!("100000 b true\nlater 2\n")),
            "{}: {seen:#}",
            place.tier()
        );
        assert!(
            seen["layers"].to_string().contains("seccomp from the first line"),
            "{seen:#}"
        );
        let refused = run(code);
        assert_eq!(
            (&refused["status"], &refused["violation"]["syscall"]),
            (&json!("violation"), &json!("mkdir")),
            "{}: {refused:#}",
            place.tier()
        );
        // What does not compile is no longer start-up's business either.
        let wrong = run(&format!("{code}; ]"));
        assert_eq!(wrong["status"], "exited", "{}: {wrong:#}", place.tier());
        assert!(
            wrong["stderr"].as_str().unwrap().contains("SyntaxError"),
            "{wrong:#}"
        );
    }
    let dir = scratch();
    let module = dir.path().join("m.mjs");
    std::fs::write(
        &module,
        "import path from 'node:path'; console.log(path.basename('/a/b'))",
    )
    .unwrap();
    let output = expect(
        0,
        callgate(["exec", "--quiet", "--lang", "node", "--lock", "body"]).arg(&module),
    );
    assert_eq!(output.stdout, b"b\n");
}

#[test]
fn javascript_that_is_to_wait_for_the_lock_is_not_run_when_nobody_answers() {
    if !node() {
        return;
    }
    let dir = scratch();
    let code = dir.path().join("code");
    std::fs::write(&code, "console.log('reached')").unwrap();
    let start = include_str!("../../crates/exec/src/node/start.js");
    for (lock, status, said) in [("exec", 0, "reached\n"), ("body", 125, "")] {
        let mut command = Command::new("node");
        command.args(["-e", start, "--", "0", lock, "name.js"]);
        command.stdin(std::fs::File::open(&code).unwrap());
        let output = expect(status, &mut command);
        assert_eq!(String::from_utf8_lossy(&output.stdout), said, "{lock}");
        let told = String::from_utf8_lossy(&output.stderr).contains("nobody supervises");
        assert_eq!(told, lock == "body");
    }
}
