//! Hostile programs, each with its safe outcome, at every tier. [`coverage`] counts them, by what is feared.

mod calls;
mod coverage;
mod files;
mod lifetime;
mod network;
mod resources;
mod startup;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use serde_json::{Value, json};

use super::places::Place;
use super::{feed, marked, outcome_of, policy, unique};
use crate::support::scratch;

/// How a run has to end.
enum Ends {
    /// With exit code 0, having printed this line.
    Says(&'static str),
    /// With this status and exit code.
    As(&'static str, i32),
    /// Refused this call by the policy.
    Refused(&'static str),
}

/// A hostile program.
struct Case {
    name: &'static str,
    flags: &'static [&'static str],
    code: &'static str,
    /// How it ends at tiers full, container, unprivileged and landlock; `Err` says why a tier can't hold it.
    ends: [Result<Ends, &'static str>; 4],
}

use Ends::{As, Refused, Says};

/// The same at every tier.
macro_rules! everywhere {
    ($end:expr) => {
        [Ok($end), Ok($end), Ok($end), Ok($end)]
    };
}
use everywhere;

/// Begins every program: nothing is there of the one before. Its scratch directory is /tmp where it has a root
/// of its own.
const CLEAN: &str = "\
import ctypes, errno, os, signal, sys, time
TMP = os.environ.get('TMPDIR', '/tmp')
assert os.getcwd() == TMP and os.listdir(TMP) == [] and ('TMPDIR' in os.environ or os.listdir('/dev/shm') == [])
def attempt(do, *args):
    try: do(*args)
    except OSError as error: return errno.errorcode.get(error.errno, 'timeout')
    return 'done'
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
    result = libc.syscall(*[ctypes.c_long(arg) for arg in args])
    return errno.errorcode[ctypes.get_errno()] if result == -1 else 'done'
";

/// Runs all of them at every tier. `open`: under a policy that allows every call, so that the other layers
/// are what holds.
fn hold(cases: &[Case], open: bool) {
    let (service, _name) = services();
    let dir = scratch();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let open = if open {
        policy(dir.path(), &json!([]))
    } else {
        "python".to_owned()
    };
    let failed: BTreeMap<String, String> = std::thread::scope(|scope| {
        let at = |(i, place): (usize, Place)| {
            let (open, service) = (&open, &service);
            scope.spawn(move || hold_at(&place, i, cases, open, service))
        };
        let started: Vec<_> = Place::all().into_iter().enumerate().map(at).collect();
        started
            .into_iter()
            .flat_map(|place| place.join().unwrap())
            .collect()
    });
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Runs all of them at one tier; returns what did not end as it has to.
fn hold_at(
    place: &Place,
    i: usize,
    cases: &[Case],
    policy: &str,
    service: &[String; 2],
) -> BTreeMap<String, String> {
    let mut failed = BTreeMap::new();
    for case in cases {
        let Ok(end) = &case.ends[i] else { continue };
        let mark = unique("mark");
        let variable = format!("MARK={mark}");
        let [port, name] = service;
        let mut flags = vec![
            "--policy", policy, "--env", &variable, "--env", port, "--env", name,
        ];
        if !case.flags.contains(&"--timeout") {
            flags.extend(["--timeout", "20"]);
        }
        flags.extend(case.flags);
        let mut command = place.command(&flags);
        command.env("SECRET", "of the supervisor");
        let outcome = outcome_of(&feed(&mut command, format!("{CLEAN}{}", case.code).as_bytes()));
        let left = marked(&mark);
        if !end.is(&outcome) || outcome["tier"] != place.tier() || !left.is_empty() {
            let what = format!("{} at tier {}", case.name, place.tier());
            failed.insert(what, format!("{outcome:#}\nleft: {left:?}"));
        }
    }
    // The host is well: an ordinary run goes as ever.
    let next = place.outcome(&[], "import os\nprint(os.listdir('.'), sum(range(10)))\n");
    assert_eq!(next["stdout"], "[] 45\n", "{next:#}");
    failed
}

impl Ends {
    fn is(&self, outcome: &Value) -> bool {
        match self {
            Says(line) => outcome["exit_code"] == 0 && outcome["stdout"] == format!("{line}\n"),
            As(status, code) => outcome["status"] == *status && outcome["exit_code"] == *code,
            Refused(call) => outcome["status"] == "violation" && outcome["violation"]["syscall"] == *call,
        }
    }
}

/// Services of the host, and the variables that tell of them: a port, an abstract name.
fn services() -> ([String; 2], (TcpListener, UnixListener)) {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = unique("callgate-abuse");
    let local = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let port = tcp.local_addr().unwrap().port();
    ([format!("PORT={port}"), format!("NAME={name}")], (tcp, local))
}

#[test]
fn what_is_bounded_stays_bounded() {
    hold(resources::CASES, true);
}

#[test]
fn what_is_not_theirs_stays_as_it_is() {
    hold(files::CASES, true);
}

#[test]
fn what_is_over_is_over() {
    hold(lifetime::CASES, true);
}

#[test]
fn nobody_is_met() {
    hold(network::CASES, true);
}

#[test]
fn how_it_starts_and_what_is_said_of_it_is_not_theirs_to_say() {
    hold(startup::CASES, true);
}

#[test]
fn the_doors_that_the_policy_shuts_are_shut_at_every_tier() {
    hold(&calls::cases(), false);
}
