//! Where code is run at each tier: as root, with what a plain container has, as an ordinary
//! user with namespaces and without.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::{feed, interpreter, outcome_of};
use crate::support::sys::refuse_user_namespaces;
use crate::support::{CALLGATE, available, callgate, expect, root, scratch, tool, without_cgroups};

/// The capabilities of a plain `docker run`.
pub const DOCKER: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,\
                          +net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

/// `callgate exec --json FLAGS… -` with no more capabilities than these.
pub fn confined(capabilities: &str, flags: &[&str], code: &str) -> Output {
    let mut command = Command::new("setpriv");
    command
        .args([
            "--bounding-set",
            capabilities,
            CALLGATE,
            "exec",
            "--json",
            "--python",
            interpreter(),
        ])
        .args(flags)
        .arg("-");
    feed(&mut command, code.as_bytes())
}

/// What an ordinary user needs: a copy of the binary that it may read, and a home of its own.
pub struct Ordinary {
    dir: tempfile::TempDir,
    callgate: PathBuf,
    uid: u32,
}

/// Whom nobody else is.
pub const UID: u32 = 61_234;

impl Ordinary {
    pub fn new() -> Self {
        Self::with(UID)
    }

    /// A user who has no processes but those of one test.
    pub fn alone() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self::with(100_000 + std::process::id() % 30_000 * 32 + NEXT.fetch_add(1, Ordering::SeqCst) % 32)
    }

    fn with(uid: u32) -> Self {
        let dir = scratch();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let callgate = dir.path().join("callgate");
        // By another process: a descriptor of ours that is open for writing could be held by what another test
        // is just starting, and the copy could not be executed (ETXTBSY).
        expect(0, Command::new("cp").arg(CALLGATE).arg(&callgate));
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        chown(&home, Some(uid), Some(uid)).unwrap();
        Self { dir, callgate, uid }
    }

    /// A directory that it may read.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its own directory.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// `callgate exec --json FLAGS… -` as this user.
    pub fn command(&self, flags: &[&str]) -> Command {
        let flags: Vec<&str> = ["--json"].iter().chain(flags).copied().collect();
        self.shown(&flags)
    }

    /// `callgate` as this user.
    pub fn callgate(&self) -> Command {
        let id = self.uid.to_string();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
            .arg(&self.callgate)
            .current_dir("/");
        command
    }

    /// `callgate exec FLAGS… -` as this user, which says for people how it ended.
    pub fn shown(&self, flags: &[&str]) -> Command {
        let home = self.home();
        let mut command = self.callgate();
        command
            .args(["exec", "--python", "/usr/bin/python3"])
            .args(flags)
            .arg("-")
            .env("HOME", &home)
            .env("XDG_CACHE_HOME", home.join(".cache"));
        command
    }

    pub fn exec(&self, flags: &[&str], code: &str) -> Output {
        feed(&mut self.command(flags), code.as_bytes())
    }
}

/// A tier, and who asks for it where.
pub enum Place {
    /// The superuser on a host.
    Full,
    /// The superuser in a plain container: Docker's capabilities, no cgroup that could be written to.
    Container,
    /// An ordinary user.
    Unprivileged(Ordinary),
    /// An ordinary user who is refused namespaces.
    Landlock(Ordinary),
}

impl Place {
    /// Every tier; none where this machine can't be all of these places.
    pub fn all() -> Vec<Self> {
        let needs = root()
            .and_then(|()| tool("setpriv"))
            .and_then(|()| tool("unshare"));
        if !available("root", needs) {
            return Vec::new();
        }
        vec![
            Self::Full,
            Self::Container,
            Self::Unprivileged(Ordinary::new()),
            Self::Landlock(Ordinary::alone()),
        ]
    }

    pub fn tier(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Container => "container",
            Self::Unprivileged(_) => "unprivileged",
            Self::Landlock(_) => "landlock",
        }
    }

    /// The uid of who asks.
    pub fn owner(&self) -> u32 {
        match self {
            Self::Full | Self::Container => 0,
            Self::Unprivileged(user) | Self::Landlock(user) => user.uid(),
        }
    }

    /// `callgate exec --json --tier TIER FLAGS… -`, there.
    pub fn command(&self, flags: &[&str]) -> Command {
        let flags: Vec<&str> = ["--tier", self.tier()].iter().chain(flags).copied().collect();
        match self {
            Self::Full => callgate(
                ["exec", "--json", "--python", "/usr/bin/python3"]
                    .iter()
                    .chain(&flags)
                    .chain(&["-"]),
            ),
            Self::Container => {
                let mut command = without_cgroups();
                command
                    .args(["setpriv", "--bounding-set", DOCKER])
                    .args([CALLGATE, "exec", "--json", "--python", "/usr/bin/python3"])
                    .args(flags)
                    .arg("-");
                command
            }
            Self::Unprivileged(user) => user.command(&flags),
            Self::Landlock(user) => {
                let mut command = user.command(&flags);
                refuse_user_namespaces(&mut command);
                command
            }
        }
    }

    /// The outcome of this code, there.
    pub fn outcome(&self, flags: &[&str], code: &str) -> Value {
        let outcome = outcome_of(&feed(&mut self.command(flags), code.as_bytes()));
        if outcome["status"] != "setup_failed" {
            assert_eq!(outcome["tier"], self.tier(), "{outcome:#}");
        }
        outcome
    }
}
