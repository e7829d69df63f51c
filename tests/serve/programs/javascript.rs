//! dify-sandbox's programs for Node.js.

use serde_json::{Value, json};

use super::{data, ended_well, failed};
use crate::serve::server::{Server, Setup};
use crate::support::{available, root, tool};

/// A server with a network, as in their tests.
fn server() -> Option<Server> {
    let needs = root().and_then(|()| tool("node"));
    if !available("node", needs) {
        return None;
    }
    let setup = Setup::new(&[]).env("WORKER_TIMEOUT", "30");
    Some(setup.env("ENABLE_NETWORK", "true").ready())
}

fn run(server: &Server, code: &str) -> Value {
    data(
        server,
        code,
        &json!({"language": "nodejs", "enable_network": true}),
    )
}

/// The text that dify puts around the code of a node: inputs as base64, the result as JSON between marks.
const NODE: &str = "
function main({rows, name}) {
    return {total: rows.reduce((sum, row) => sum + row, 0), greeting: `hello ${name}`}
}
const given = Buffer.from('eyJyb3dzIjogWzEsIDIsIDM5XSwgIm5hbWUiOiAid29ybGQifQ==', 'base64')
console.log(`<<RESULT>>${JSON.stringify(main(JSON.parse(given.toString('utf-8'))))}<<RESULT>>`)
";

#[test]
fn ordinary_programs_end_well() {
    let Some(server) = server() else { return };
    for _ in 0..3 {
        assert_eq!(
            ended_well(&run(&server, NODE)),
            "<<RESULT>>{\"total\":42,\"greeting\":\"hello world\"}<<RESULT>>\n"
        );
    }
    let there_and_back = "const text = Buffer.from('hello world').toString('base64')\n\
                          console.log(text, Buffer.from(text, 'base64').toString())";
    assert_eq!(
        ended_well(&run(&server, there_and_back)),
        "aGVsbG8gd29ybGQ= hello world\n"
    );
    let json = "console.log(JSON.stringify({hello: 'world'}))";
    assert_eq!(ended_well(&run(&server, json)), "{\"hello\":\"world\"}\n");
    // Without the network, and so under another policy, as well.
    let closed = data(&server, NODE, &json!({"language": "nodejs"}));
    assert!(ended_well(&closed).contains("\"total\":42"));
    let later = "const fs = require('fs')\n\
                 fs.promises.writeFile('/tmp/note', 'kept').then(() => setTimeout(() => \
                 console.log(fs.readFileSync('/tmp/note', 'utf8')), 20))";
    assert_eq!(ended_well(&run(&server, later)), "kept\n");
}

#[test]
fn streams_and_exceptions_are_where_they_belong() {
    let Some(server) = server() else { return };
    let warned = run(&server, "console.error('careful')\nconsole.log('ok')");
    assert_eq!(
        json!([
            warned["stdout"],
            warned["stderr"],
            warned["error"],
            warned["exit_code"]
        ]),
        json!(["ok\n", "careful\n", "", 0])
    );
    let thrown = run(&server, "throw new Error('bad input')");
    failed(&thrown);
    let told = thrown["stderr"].as_str().unwrap();
    assert!(told.contains("Error: bad input"), "{thrown:#}");
}

#[test]
fn what_is_refused_is_refused_and_said() {
    let Some(server) = server() else { return };
    // Theirs is killed; here the code is told, nothing is executed, and what nobody handles ends it.
    for code in [
        "require('child_process').spawn('ls', ['-l', '/usr']).stdout.on('data', (data) => console.log(`${data}`))",
        "console.log(require('child_process').execSync('ls /', {encoding: 'utf8'}))",
        "console.log(require('child_process').execFileSync('/bin/ls'))",
    ] {
        let data = run(&server, code);
        failed(&data);
        let error = data["error"].as_str().unwrap().to_lowercase();
        assert!(
            error.contains("eperm") || error.contains("operation not permitted"),
            "{code}: {data:#}"
        );
        assert_eq!(data["stdout"], "", "{code}: {data:#}");
    }
}

#[test]
fn names_that_the_code_takes_over_run_nothing_before_it() {
    let Some(server) = server() else { return };
    // What is declared in the code is hoisted over what a launcher in the same script would call.
    let code = "let called = []\n\
                function parseInt() { called.push('parseInt') }\n\
                function require() { called.push('require') }\n\
                function Buffer() { called.push('Buffer') }\n\
                console.log({result: called.shift()})";
    assert_eq!(ended_well(&run(&server, code)), "{ result: undefined }\n");
}
