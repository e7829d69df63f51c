//! The probes as `fit` leaves them: each is fitted once, for all tests that begin with that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Mutex, OnceLock};

use crate::support::{callgate, expect, scratch};

/// What `callgate fit PROBE` said and wrote.
pub(crate) struct Fitted {
    stem: String,
    pub(crate) output: Output,
    pub(crate) trace: String,
    pub(crate) policy: String,
}

/// Fits a probe, on a terminal of 160 columns.
pub(crate) fn fitted(probe: &Path) -> &'static Fitted {
    static ALL: Mutex<BTreeMap<PathBuf, &'static OnceLock<Fitted>>> = Mutex::new(BTreeMap::new());
    let known = *ALL
        .lock()
        .unwrap()
        .entry(probe.to_owned())
        .or_insert_with(|| Box::leak(Box::default()));
    known.get_or_init(|| fit(probe))
}

fn fit(probe: &Path) -> Fitted {
    let dir = scratch();
    let mut command = callgate(["fit", "--out-dir"]);
    let output = expect(0, command.arg(dir.path()).arg(probe).env("COLUMNS", "160"));
    let stem = probe.file_stem().unwrap().to_str().unwrap().to_owned();
    let read = |kind: &str| std::fs::read_to_string(dir.path().join(format!("{stem}.{kind}.json"))).unwrap();
    Fitted {
        output,
        trace: read("trace"),
        policy: read("policy"),
        stem,
    }
}

impl Fitted {
    /// Writes the trace and the policy into a directory, by the names that `fit` gave them.
    pub(crate) fn write(&self, into: &Path) -> (PathBuf, PathBuf) {
        let write = |kind: &str, text: &str| {
            let path = into.join(format!("{}.{kind}.json", self.stem));
            std::fs::write(&path, text).unwrap();
            path
        };
        (write("trace", &self.trace), write("policy", &self.policy))
    }
}
