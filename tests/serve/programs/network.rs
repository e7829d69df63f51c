//! dify-sandbox's programs that fetch a page: theirs from a site on the internet, these from this machine.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{data, ended_well, failed, interpreter};
use crate::fit::can_install;
use crate::serve::server::{Server, Setup};
use crate::support::{available, expect, root, scratch, tool};

/// Serves HTTPS, and HTTP for whatever name is asked for, as a proxy is asked; tells its two ports.
const SITE: &str = "
import http.server, ssl, sys, threading

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f'a page for {self.path}'.encode())
    def log_message(self, *_): pass

def serve(certificate=None):
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Answer)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever).start()
    return server.server_port

print(serve(), serve(sys.argv[1]), flush=True)
";

/// A site with a certificate of its own; it ends with this.
struct Site {
    child: Child,
    http: u16,
    https: u16,
    /// The certificate, as text.
    trusted: String,
}

impl Site {
    fn start() -> Self {
        let dir = scratch();
        let line = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
                    -addext subjectAltName=DNS:localhost -keyout key.pem -out trusted.pem 2>/dev/null && \
                    cat key.pem trusted.pem >server.pem";
        expect(0, Command::new("sh").args(["-ec", line]).current_dir(&dir));
        let mut child = Command::new("/usr/bin/python3")
            .args(["-I", "-c", SITE])
            .arg(dir.path().join("server.pem"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        // Both certificates are read by now.
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ports: Vec<u16> = line
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        Self {
            child,
            http: ports[0],
            https: ports[1],
            trusted: std::fs::read_to_string(dir.path().join("trusted.pem")).unwrap(),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server with a network, and a site.
fn both(variables: &[(&str, &str)]) -> Option<(Server, Site)> {
    let needs = root().and_then(|()| tool("openssl"));
    if !available("openssl", needs) || !can_install() {
        return None;
    }
    let mut setup = Setup::new(&["--python", interpreter()])
        .env("WORKER_TIMEOUT", "30")
        .env("ENABLE_NETWORK", "true");
    for (name, value) in variables {
        setup = setup.env(name, value);
    }
    Some((setup.ready(), Site::start()))
}

fn open(server: &Server, code: &str) -> Value {
    data(server, code, &json!({"enable_network": true}))
}

#[test]
fn pages_are_fetched_by_name_and_with_certificates() {
    let Some((server, site)) = both(&[]) else { return };
    let url = format!("https://localhost:{}/news", site.https);
    for (client, trusting) in [
        ("requests", "verify='/tmp/trusted.pem'"),
        (
            "httpx",
            "verify=__import__('ssl').create_default_context(cafile='/tmp/trusted.pem')",
        ),
    ] {
        let code = format!(
            "import {client}\nopen('/tmp/trusted.pem', 'w').write('''{}''')\n\
             print({client}.get('{url}', {trusting}).content)",
            site.trusted
        );
        assert_eq!(
            ended_well(&open(&server, &code)),
            "b'a page for /news'\n",
            "{client}"
        );
        // Whom nobody vouches for is not trusted, so there are authorities to ask.
        let untrusted = open(&server, &format!("import {client}\n{client}.get('{url}')"));
        failed(&untrusted);
        let told = untrusted["stderr"].as_str().unwrap();
        assert!(
            told.contains("CERTIFICATE_VERIFY_FAILED"),
            "{client}: {untrusted:#}"
        );
        // Nothing is reached by a request that does not ask for the network.
        let closed = server.run(&code);
        failed(&closed);
        assert_eq!(closed["stdout"], "", "{closed:#}");
    }
}

#[test]
fn pages_are_fetched_through_the_proxy_of_the_configuration() {
    let needs = root().and_then(|()| tool("openssl"));
    if !available("openssl", needs) || !can_install() {
        return;
    }
    let site = Site::start();
    let proxy = format!("http://127.0.0.1:{}", site.http);
    let Some((server, _)) = both(&[("HTTP_PROXY", &proxy)]) else {
        return;
    };
    // No name server knows it: only who asks the proxy gets there.
    let url = "http://nowhere.invalid/news";
    for client in ["requests", "httpx"] {
        let code = format!("import {client}\nprint({client}.get('{url}').text)");
        assert_eq!(
            ended_well(&open(&server, &code)),
            format!("a page for {url}\n"),
            "{client}"
        );
    }
}
