//! Hostile programs, each with its safe outcome, at every tier: [`resources`], [`files`], [`calls`].
//!
//! What a program may not do to time and to other processes is tried in [`super::lifetime`], what it may
//! not see in [`super::sight`], what may not come before the filter in [`super::lock`].

mod calls;
mod files;
mod resources;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::places::Place;
use super::{marked, policy, unique};
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
    /// How it ends at tiers full, container and unprivileged; `Err` says why a tier can't hold it.
    ends: [Result<Ends, &'static str>; 3],
}

use Ends::{As, Refused, Says};

/// The same at every tier.
macro_rules! everywhere {
    ($end:expr) => {
        [Ok($end), Ok($end), Ok($end)]
    };
}
use everywhere;

/// Begins every program: nothing is there of the one before.
const CLEAN: &str = "\
import ctypes, errno, os, signal, sys, time
assert os.listdir('/tmp') == [] and os.listdir('/dev/shm') == []
def attempt(do, *args):
    try: do(*args)
    except OSError as error: return errno.errorcode[error.errno]
    return 'done'
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
    result = libc.syscall(*[ctypes.c_long(arg) for arg in args])
    return errno.errorcode[ctypes.get_errno()] if result == -1 else 'done'
";

/// Runs all of them at every tier. `open`: under a policy that allows every call, so that the other layers
/// are what holds.
fn hold(cases: &[Case], open: bool) {
    let dir = scratch();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let open = if open {
        policy(dir.path(), &json!([]))
    } else {
        "python".to_owned()
    };
    let failed: BTreeMap<String, String> = std::thread::scope(|scope| {
        let at = |(i, place): (usize, Place)| {
            let open = &open;
            scope.spawn(move || hold_at(&place, i, cases, open))
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
fn hold_at(place: &Place, i: usize, cases: &[Case], policy: &str) -> BTreeMap<String, String> {
    let mut failed = BTreeMap::new();
    for case in cases {
        let Ok(end) = &case.ends[i] else { continue };
        let mark = unique("mark");
        let variable = format!("MARK={mark}");
        let mut flags = vec!["--policy", policy, "--env", &variable];
        if !case.flags.contains(&"--timeout") {
            flags.extend(["--timeout", "20"]);
        }
        flags.extend(case.flags);
        let outcome = place.outcome(&flags, &format!("{CLEAN}{}", case.code));
        let left = marked(&mark);
        if !end.is(&outcome) || !left.is_empty() {
            let what = format!("{} at tier {}", case.name, place.tier());
            failed.insert(what, format!("{outcome:#}\nleft: {left:?}"));
        }
    }
    // The host is well: an ordinary run goes as ever.
    let next = place.outcome(&[], "import os\nprint(os.listdir('/tmp'), sum(range(10)))\n");
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
