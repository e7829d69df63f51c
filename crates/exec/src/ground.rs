//! Makes the root for the tier that is chosen.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use callgate_rootfs::{BuiltRoot, Identity, Plan, PlanError, Wanted};
use nix::unistd::{getegid, geteuid};

use crate::choose::{Chosen, choose};
use crate::early::{Early, Rest};
use crate::host;
use crate::ipc;
use crate::outcome::{SetUpFailure, Unready, causes};
use crate::private::Private;
use crate::run::{Network, Root, Run};
use crate::scratch;
use crate::setup::Ground;
use crate::slots;
use crate::tier::Tier;
use crate::uid::Claim;

/// A root at its tier, and the uid that is claimed for the run.
pub(crate) struct Prepared {
    pub(crate) tier: Tier,
    pub(crate) ground: Ground,
    pub(crate) identity: Identity,
    pub(crate) notes: Vec<String>,
    /// What its root is a replica of, if it is one.
    base: Option<PathBuf>,
    /// Held until the run is over.
    _claim: Option<Claim>,
}

impl Prepared {
    /// Whether there can be more of it, with uids of their own.
    pub(crate) fn has_others(&self) -> bool {
        matches!(self.ground, Ground::Planned(_)) || self.base.is_some()
    }

    /// The same root at the same tier, with a uid of its own. Of a directory that was given there is no other: its
    /// uid is written in it.
    pub(crate) fn another(&self) -> Result<Self, SetUpFailure> {
        let of = |claim: &Claim| Identity {
            uid: claim.uid,
            gid: claim.uid,
        };
        let (claim, ground) = match (&self.ground, &self.base) {
            (Ground::Planned(plan), _) => {
                let claim = Claim::any().map_err(failed("uid"))?;
                let plan = plan.for_another(of(&claim)).map_err(failed("root"))?;
                (claim, Ground::Planned(Box::new(plan)))
            }
            (Ground::Directory(_), Some(base)) => {
                let claim = slots::claim()?;
                let dir = slots::another(base, of(&claim))?;
                (claim, Ground::Directory(dir))
            }
            (Ground::Directory(_) | Ground::Host { .. }, _) => {
                return Err(SetUpFailure {
                    step: "uid".to_owned(),
                    error: "a root that stands has one uid".to_owned(),
                    advice: None,
                });
            }
        };
        Ok(Self {
            tier: self.tier,
            ground,
            identity: of(&claim),
            notes: self.notes.clone(),
            base: self.base.clone(),
            _claim: Some(claim),
        })
    }
}

/// Chooses the tier, claims a uid, plans or opens the root.
pub(crate) fn prepare(run: &Run) -> Result<Prepared, Unready> {
    prepare_early(run, Early::none()).map(|(prepared, _)| prepared)
}

/// The same, with what is being made of it already.
pub(crate) fn prepare_early(run: &Run, early: Early) -> Result<(Prepared, Option<Rest>), Unready> {
    // What belongs in the root does not depend on the tier; it is recalled while the rest is made.
    let planned = planned(run)?;
    let (Chosen { tier, note: lower }, claim, rest) = match early.begun()? {
        Some((begun, rest)) => (begun.chosen, begun.claim, Some(rest)),
        None => (choose(run.tier, &run.cache)?, None, None),
    };
    Ok((settle(run, planned, (tier, lower), claim)?, rest))
}

/// What belongs in a root that is found by itself.
fn planned(run: &Run) -> Result<Option<Plan>, Unready> {
    let wanted = match &run.root {
        Root::ForPython(interpreter) => Wanted::Python(interpreter),
        Root::ForNode(node) => Wanted::Command(&node.executable, &node.data),
        Root::ForCommand(program) => Wanted::Command(program, &[]),
        Root::Directory(_) => return Ok(None),
    };
    let mut plan = Plan::recall(&run.cache, wanted).map_err(unplanned)?;
    if run.network == Network::Host {
        plan.add_network().map_err(unplanned)?;
    }
    if !run.add.is_empty() {
        plan.add(&run.add).map_err(unplanned)?;
    }
    Ok(Some(plan))
}

/// The root at its tier, for the uid that is claimed.
fn settle(
    run: &Run,
    planned: Option<Plan>,
    (tier, lower): (Tier, Option<String>),
    claimed: Option<Claim>,
) -> Result<Prepared, Unready> {
    let built = match &run.root {
        Root::Directory(dir) => Some(callgate_rootfs::open(dir).map_err(failed("root"))?),
        Root::ForPython(_) | Root::ForNode(_) | Root::ForCommand(_) => None,
    };
    let claim = match (tier, &built) {
        (Tier::Unprivileged | Tier::Landlock, _) => None,
        // The uid is written in the root's passwd; runs in a directory that was given take turns, as they
        // share its scratch directory where there are no mounts.
        (_, Some(built)) => Some(Claim::wait_for(identity_of(built)?.uid).map_err(failed("uid"))?),
        (Tier::Container, None) => Some(slots::claim()?),
        (Tier::Full, None) => Some(match claimed {
            Some(claim) => claim,
            None => Claim::any().map_err(failed("uid"))?,
        }),
    };
    let identity = match (&claim, &built) {
        (Some(_), Some(built)) => identity_of(built)?,
        (Some(claim), None) => Identity {
            uid: claim.uid,
            gid: claim.uid,
        },
        (None, _) => Identity {
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
        },
    };
    if tier == Tier::Container {
        alone(identity.uid)?;
        // What an earlier run left whose supervisor was killed.
        ipc::sweep(identity.uid).map_err(failed("removing IPC objects"))?;
    }
    let names = match tier {
        Tier::Container => &slots::BASE,
        Tier::Full | Tier::Unprivileged | Tier::Landlock => &identity,
    };
    let plan = match (planned, &run.root) {
        (Some(plan), _) => plan.named(*names),
        (None, Root::Directory(dir)) => return standing(run, dir, tier, (identity, claim), built),
        // Only what stands is not planned.
        (None, Root::ForPython(_) | Root::ForNode(_) | Root::ForCommand(_)) => {
            return Err(SetUpFailure {
                step: "root".to_owned(),
                error: "it has not been planned".to_owned(),
                advice: None,
            }
            .into());
        }
    };
    let mut notes = plan.notes().to_vec();
    notes.extend(lower);
    notes.extend(run.cache.notes());
    notes.extend(
        plan.missing()
            .iter()
            .filter(|missing| missing.is_fatal())
            .map(|missing| {
                format!(
                    "missing in the root: {}, needed by {}",
                    missing.soname,
                    missing.needed_by.display()
                )
            }),
    );
    let mut base = None;
    let ground = match tier {
        Tier::Container => {
            let (of, dir) = slots::prepare(&plan, run, identity, &mut notes)?;
            base = Some(of);
            Ground::Directory(dir)
        }
        Tier::Full | Tier::Unprivileged => Ground::Planned(Box::new(plan)),
        Tier::Landlock => {
            let scratch = Private::new(&std::env::temp_dir()).map_err(failed("scratch directory"))?;
            let reachable = host::reachable(&plan, scratch.path(), run.network).map_err(failed("root"))?;
            Ground::Host { reachable, scratch }
        }
    };
    Ok(Prepared {
        tier,
        ground,
        identity,
        notes,
        base,
        _claim: claim,
    })
}

/// A root that stands as a directory.
fn standing(
    run: &Run,
    dir: &Path,
    tier: Tier,
    (identity, claim): (Identity, Option<Claim>),
    built: Option<BuiltRoot>,
) -> Result<Prepared, Unready> {
    if tier == Tier::Landlock {
        return Err(SetUpFailure {
            step: "root".to_owned(),
            error: format!("{} can't become the root at tier landlock", dir.display()),
            advice: Some(
                "run without --root: the code gets what it needs at the host's own paths".to_owned(),
            ),
        }
        .into());
    }
    let dir = dir.canonicalize().map_err(failed("root"))?;
    if tier == Tier::Container {
        empty_scratch(&dir).map_err(failed("emptying the scratch directory"))?;
    }
    let mut notes = built.map(|built| built.notes).unwrap_or_default();
    notes.extend(nameless(run.network, &dir));
    Ok(Prepared {
        tier,
        ground: Ground::Directory(dir),
        identity,
        notes,
        base: None,
        _claim: claim,
    })
}

/// Removes what a run without mounts and namespaces of its own has left when it is over: what is in its
/// scratch directories, and its IPC objects. Returns what could not be removed; the next start tries again.
pub(crate) fn tidy(ground: &Ground, uid: u32) -> Vec<String> {
    let mut notes = Vec::new();
    if let Ground::Directory(dir) = ground {
        if let Err(error) = empty_scratch(dir) {
            notes.push(format!(
                "what it left in its scratch directories is still there: {error}"
            ));
        }
    }
    if let Ground::Host { scratch, .. } = ground {
        if let Err(error) = scratch.remove() {
            notes.push(format!("its scratch directory is still there: {error}"));
        }
        return notes;
    }
    if let Err(error) = ipc::sweep(uid) {
        notes.push(format!("its IPC objects are still there: {error}"));
    }
    notes
}

/// What is said of a built root that names can't be looked up in.
fn nameless(network: Network, root: &Path) -> Option<String> {
    let lacks = network == Network::Host && !root.join("etc/resolv.conf").exists();
    lacks.then(|| {
        "the root has no /etc/resolv.conf, so names of hosts can't be looked up: build it with \
         `callgate root build --net host`"
            .to_owned()
    })
}

/// Who the code is in a built root, as its passwd says.
fn identity_of(built: &BuiltRoot) -> Result<Identity, SetUpFailure> {
    let problem = match built.identity {
        Some(Identity { uid: 0, .. } | Identity { gid: 0, .. }) => "is built for the superuser",
        Some(identity) => return Ok(identity),
        None => "has no identity in it",
    };
    Err(SetUpFailure {
        step: "root".to_owned(),
        error: format!("{} {problem}", built.dir.display()),
        advice: Some("build it again with `callgate root build`, which gives it a uid of its own".to_owned()),
    })
}

/// Whether processes of this uid run: a tier without a pid namespace would kill them with the run's own.
pub(crate) fn in_use(uid: u32) -> io::Result<Option<String>> {
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // A process that ends meanwhile is none.
        let Ok(status) = std::fs::read_to_string(format!("/proc/{name}/status")) else {
            continue;
        };
        let field = |key: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .unwrap_or_default()
        };
        let theirs = field("Uid:").split_whitespace().any(|id| id.parse() == Ok(uid));
        if theirs && !field("State:").trim().starts_with('Z') {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Waits for the last processes of an earlier run, whose supervisor may have been killed.
fn alone(uid: u32) -> Result<(), SetUpFailure> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let Some(pid) = in_use(uid).map_err(failed("uid"))? else {
            return Ok(());
        };
        if Instant::now() > deadline {
            return Err(SetUpFailure {
                step: "uid".to_owned(),
                error: format!("process {pid} runs under uid {uid} and is not part of this run"),
                advice: Some(
                    "tier container ends a run by killing every process of its uid: end that process, or \
                              build the root with a uid of its own (`callgate root build --uid`)"
                        .to_owned(),
                ),
            });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Removes what an earlier run left in the scratch directories of a materialised root.
pub(crate) fn empty_scratch(dir: &Path) -> io::Result<()> {
    for at in crate::mounted::scratch_of(dir) {
        let at = dir.join(at.strip_prefix("/").unwrap_or(&at));
        scratch::empty(&at)?;
    }
    Ok(())
}

pub(crate) fn failed<E: Error + 'static>(step: &'static str) -> impl Fn(E) -> SetUpFailure {
    move |error| SetUpFailure {
        step: step.to_owned(),
        error: causes(&error),
        advice: None,
    }
}

/// A root that can't be planned, or a command that no root could run.
fn unplanned(error: PlanError) -> Unready {
    let exit_code = match &error {
        PlanError::NotAProgram { .. }
        | PlanError::NoScriptInterpreter { .. }
        | PlanError::ScriptLoop { .. } => 126,
        _ => 125,
    };
    Unready {
        failure: failed("root")(error),
        exit_code,
    }
}
