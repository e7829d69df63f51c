//! Roots for runs that have no mounts of their own: each run has a uid that no other has, and a root that is this
//! uid's, so that runs go side by side.
//!
//! For each program there is one copy of what it needs, the *base*, in which nothing ever runs. A uid's root is a
//! *replica* of it: its files are links to the base's, which nobody but the superuser can write to; its names and
//! its scratch directories are its own. A replica stays for the next run under its uid.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use callgate_cache::own;
use callgate_rootfs::{BuildOptions, BuiltRoot, Identity, Plan, current, materialise, replica_of, replicate};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::ground::{empty_scratch, failed, in_use};
use crate::ipc;
use crate::outcome::SetUpFailure;
use crate::run::{Network, Run};
use crate::uid::{Claim, RANGE};

/// Whose names the base has; nothing runs in it.
pub(crate) const BASE: Identity = Identity {
    uid: RANGE.end - 1,
    gid: RANGE.end - 1,
};

/// How long the last processes of a run may take to end whose supervisor was killed.
const LAST: Duration = Duration::from_millis(500);

/// Takes a uid that nobody has, from the end: tier full takes them from the beginning, so that few uids come to have
/// roots.
pub(crate) fn claim() -> Result<Claim, SetUpFailure> {
    let mut first = true;
    for uid in RANGE.rev() {
        let Some(claim) = Claim::take(uid).map_err(failed("uid"))? else {
            continue;
        };
        // All its processes are killed when the run ends: those that are none of ours must not be there.
        let mut free = in_use(uid).map_err(failed("uid"))?.is_none();
        if !free && first {
            std::thread::sleep(LAST);
            free = in_use(uid).map_err(failed("uid"))?.is_none();
        }
        if free {
            return Ok(claim);
        }
        first = false;
    }
    Err(SetUpFailure {
        step: "uid".to_owned(),
        error: format!("all {} uids are in use", RANGE.len()),
        advice: None,
    })
}

/// The base of a plan, as it is to be now: built or brought up to date if need be. With it the root in it for this
/// identity, whose uid is claimed by the caller.
pub(crate) fn prepare(
    plan: &Plan,
    run: &Run,
    identity: Identity,
    notes: &mut Vec<String>,
) -> Result<(PathBuf, PathBuf), SetUpFailure> {
    let root = failed("root");
    let base = base_of(plan, run)?;
    if let Some(built) = current(plan, &base).map_err(failed("root"))? {
        notes.extend(built.notes.iter().cloned());
        let replica = replica(&built, &base, identity)?;
        return Ok((base, replica));
    }
    let _lock = lock(&base).map_err(failed("root"))?;
    // Somebody else may have built it meanwhile.
    let built = match current(plan, &base).map_err(failed("root"))? {
        Some(built) => built,
        None => {
            materialise(plan, &base, &BuildOptions::default(), &mut |_| {})
                .map_err(root)?
                .root
        }
    };
    notes.extend(built.notes.iter().cloned());
    let replica = replica_locked(&built, &base, identity)?;
    Ok((base, replica))
}

/// A root like those of this base for another uid, which is claimed by the caller.
pub(crate) fn another(base: &Path, identity: Identity) -> Result<PathBuf, SetUpFailure> {
    let _lock = lock(base).map_err(failed("root"))?;
    let built = callgate_rootfs::open(base).map_err(failed("root"))?;
    replica_locked(&built, base, identity)
}

fn replica(built: &BuiltRoot, base: &Path, identity: Identity) -> Result<PathBuf, SetUpFailure> {
    match replica_of(built, &place(base, identity.uid), identity) {
        Some(there) => emptied(there, base, identity),
        None => another(base, identity),
    }
}

fn replica_locked(built: &BuiltRoot, base: &Path, identity: Identity) -> Result<PathBuf, SetUpFailure> {
    let there = replicate(built, &place(base, identity.uid), identity).map_err(failed("root"))?;
    emptied(there, base, identity)
}

/// A root as the run finds it: without what others left that were killed with their supervisors, in it and in those
/// of other uids.
fn emptied(root: BuiltRoot, base: &Path, identity: Identity) -> Result<PathBuf, SetUpFailure> {
    let emptying = failed("emptying the scratch directory");
    empty_scratch(&root.dir).map_err(emptying)?;
    for (uid, at) in replicas(base) {
        let left = uid != identity.uid && has_scratch(&at);
        // What goes on under a uid is its own business.
        let Some(_claim) = left.then(|| Claim::take(uid).ok().flatten()).flatten() else {
            continue;
        };
        if in_use(uid).map_err(failed("uid"))?.is_none() {
            empty_scratch(&at).map_err(failed("emptying the scratch directory"))?;
        }
    }
    ipc::sweep_range(RANGE, |uid| {
        let claim = Claim::take(uid)?;
        Ok(claim.filter(|_| matches!(in_use(uid), Ok(None))))
    })
    .map_err(failed("removing IPC objects"))?;
    Ok(root.dir)
}

/// Where the root of a uid is.
fn place(base: &Path, uid: u32) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(format!(".{uid}"));
    name.into()
}

/// The roots that there are beside a base.
fn replicas(base: &Path) -> Vec<(u32, PathBuf)> {
    let (Some(parent), Some(name)) = (base.parent(), base.file_name()) else {
        return Vec::new();
    };
    let uid = |entry: &Path| -> Option<u32> {
        let (of, uid) = entry.file_name()?.to_str()?.rsplit_once('.')?;
        uid.parse().ok().filter(|uid| name == of && RANGE.contains(uid))
    };
    let entries = parent.read_dir().into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((uid(&entry.path())?, entry.path())))
        .collect()
}

/// Whether there is anything in its scratch directories.
fn has_scratch(root: &Path) -> bool {
    let full = |at: &PathBuf| {
        let at = root.join(at.strip_prefix("/").unwrap_or(at));
        at.read_dir().is_ok_and(|mut entries| entries.next().is_some())
    };
    crate::mounted::scratch_of(root).iter().any(full)
}

/// Held while a base is built and while a replica of it is made.
fn lock(base: &Path) -> io::Result<Flock<File>> {
    let mut name = base.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(name))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
}

/// One directory for each interpreter or program, network and addition: a later build brings it up to date.
fn base_of(plan: &Plan, run: &Run) -> Result<PathBuf, SetUpFailure> {
    let main = plan
        .python()
        .map(|python| python.executable.as_path())
        .or(plan.program())
        .unwrap_or(Path::new("/"));
    let cache = callgate_python::environment::cache_dir().map_err(failed("root"))?;
    let roots = trusted(&cache)?;
    let mut hash = Sha256::new();
    hash.update(main.as_os_str().as_bytes());
    if run.network == Network::Host {
        hash.update(b"\0network");
    }
    for path in &run.add {
        hash.update(b"\0");
        hash.update(path.as_os_str().as_bytes());
    }
    let name: String = hash
        .finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(roots.join(name))
}

/// Where roots are, in this cache, having made sure that nobody else has a say in it: we write to them and empty them as
/// the superuser, and whoever could put a symlink there would have us do that elsewhere.
fn trusted(cache: &Path) -> Result<PathBuf, SetUpFailure> {
    let roots = cache.join("roots");
    let made = DirBuilder::new().recursive(true).mode(0o755).create(&roots);
    made.map_err(failed("root"))?;
    // That the cache is elsewhere is for whoever has the directory above it to say.
    let cache = cache.canonicalize().map_err(failed("root"))?;
    let roots = cache.join("roots");
    for dir in [&cache, &roots] {
        own(dir).map_err(|distrust| SetUpFailure {
            step: "root".to_owned(),
            error: distrust.to_string(),
            advice: Some(
                "roots are made, and emptied, in a directory of the superuser's own: set XDG_CACHE_HOME to one"
                    .to_owned(),
            ),
        })?;
    }
    Ok(roots)
}
