//! A server under test, and a client for it.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::exec::interpreter;
use crate::support::{CALLGATE, callgate};

/// The key of every server here.
pub const KEY: &str = "a key for tests";

/// How long anything may take that should take no time, on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);

/// A running server. It is killed when this is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<Value>>>,
}

/// How a server is to be started.
pub struct Setup {
    command: Command,
}

impl Setup {
    pub fn new(flags: &[&str]) -> Self {
        Self::of(callgate([""; 0]), flags)
    }

    /// One that another program starts: it gets the server's words as arguments.
    pub fn through(program: &[&str], flags: &[&str]) -> Self {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(CALLGATE);
        command.current_dir(std::env::temp_dir()).env("NO_COLOR", "1");
        Self::of(command, flags)
    }

    /// One that is started by this command, to which the words of `serve` are added.
    pub fn of(mut command: Command, flags: &[&str]) -> Self {
        command.args(["serve", "--log", "json"]);
        for (name, value) in [("--listen", "127.0.0.1:0"), ("--python", interpreter())] {
            if !flags.contains(&name) {
                command.args([name, value]);
            }
        }
        command.args(flags).env("API_KEY", KEY);
        for name in ["DEBUG", "HTTP_PROXY", "HTTPS_PROXY", "PYTHON_PATH"] {
            command.env_remove(name);
        }
        Self { command }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it and waits until it listens.
    pub fn listening(mut self) -> Server {
        let mut child = self.command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let entry = serde_json::from_str(&line).unwrap_or(Value::String(line));
                kept.lock().unwrap().push(entry);
            }
        });
        let mut server = Server {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            log,
        };
        let address = server.wait_for_log(|entry| entry["address"].as_str().map(str::to_owned));
        server.address = address.parse().unwrap();
        server
    }

    /// Starts it and waits until it is ready.
    pub fn ready(self) -> Server {
        let server = self.listening();
        eventually("ready", || server.get("/health").0 == 200);
        server
    }
}

/// Waits until something is so.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !so() {
        assert!(Instant::now() < end, "not within {LONG:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)));
    config.build().into()
}

impl Server {
    /// One with these flags that is ready.
    pub fn start(flags: &[&str]) -> Self {
        Setup::new(flags).ready()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Status and text of a GET with the key.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut response = agent()
            .get(self.url(path))
            .header("X-Api-Key", KEY)
            .call()
            .unwrap();
        let status = response.status().as_u16();
        (status, response.body_mut().read_to_string().unwrap())
    }

    /// Status and JSON of a POST with the key.
    pub fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.post_with(
            path,
            body,
            &[("X-Api-Key", KEY), ("Content-Type", "application/json")],
        )
    }

    /// The same with these headers and no others.
    pub fn post_with(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        let mut request = agent().post(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send(body).unwrap();
        let status = response.status().as_u16();
        let text = response
            .body_mut()
            .with_config()
            .limit(1 << 30)
            .read_to_string()
            .unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
        )
    }

    /// Status and JSON of a run with more fields than the code.
    pub fn ask(&self, code: &str, more: &Value) -> (u16, Value) {
        let mut body = json!({"language": "python3", "code": code});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.post("/v1/sandbox/run", &body.to_string())
    }

    /// The data of a run.
    pub fn run(&self, code: &str) -> Value {
        let (status, answer) = self.ask(code, &json!({}));
        assert_eq!((status, &answer["code"]), (200, &json!(0)), "{answer:#}");
        answer["data"].clone()
    }

    /// The value of a counter or gauge, with its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// A connection with this written to it.
    pub fn connect(&self, text: &[u8]) -> TcpStream {
        use std::io::Write;
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(text).unwrap();
        stream
    }

    /// A request for a run, as bytes.
    pub fn request(code: &str) -> Vec<u8> {
        let body = json!({"language": "python3", "code": code}).to_string();
        let head = format!(
            "POST /v1/sandbox/run HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        (head + &body).into_bytes()
    }

    /// The log up to now.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    /// What the first entry of the log tells that tells anything, now or soon.
    pub fn wait_for_log<T>(&self, tells: impl Fn(&Value) -> Option<T>) -> T {
        let mut found = None;
        let end = Instant::now() + LONG;
        while found.is_none() {
            assert!(Instant::now() < end, "{:#?}", self.log());
            std::thread::sleep(Duration::from_millis(10));
            found = self.log().iter().find_map(&tells);
        }
        found.unwrap()
    }

    /// The log's line for the run of this code's outcome: the nth that is over.
    pub fn audit(&self) -> Vec<Value> {
        let audit = |entry: &Value| entry["target"] == "callgate::audit";
        self.log().into_iter().filter(audit).collect()
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        let sent = Command::new("kill")
            .args([format!("-{signal}"), self.pid().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the server's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
