//! A root that stands already in another process's mount namespace: copied as it is, with scratch directories and
//! names of one's own. A copy takes the kernel a fraction of what it takes to put the tree together.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use callgate_launch::Step;
use callgate_rootfs::Identity;

use super::{NODEV, NOSUID, RDONLY, tmpfs};
use crate::limits::Limits;
use crate::setup::{path, text};

/// A process in whose mount namespace the root stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// A pidfd of it.
    pub(crate) process: RawFd,
    /// Whom it was put together for.
    pub(crate) identity: Identity,
}

impl Standing {
    /// The steps that copy it for somebody, and make the copy `/`.
    pub(crate) fn steps(&self, identity: Identity, scratch: &[PathBuf], limits: &Limits) -> Vec<Step> {
        let mut steps = vec![
            Step::Enter {
                process: self.process,
                namespaces: libc::CLONE_NEWNS as u64,
            },
            Step::Unshare(libc::CLONE_NEWNS as u64),
        ];
        steps.extend(scratch.iter().map(|at| tmpfs(at, &limits.scratch())));
        if identity != self.identity {
            steps.extend(
                identity
                    .files()
                    .into_iter()
                    .flat_map(|(at, names)| replace(at, names)),
            );
        }
        steps.push(Step::Chdir(text("/")));
        steps
    }
}

/// The steps that put a file of one's own over one of the tree, which is read-only.
fn replace(at: &str, bytes: String) -> [Step; 4] {
    let made = path(&Path::new(Identity::HOME).join(".callgate"));
    [
        Step::File {
            path: made.clone(),
            mode: 0o644,
            bytes: bytes.into_bytes(),
        },
        Step::Mount {
            source: Some(made.clone()),
            target: text(at),
            kind: None,
            flags: libc::MS_BIND,
            data: None,
        },
        Step::MountAttributes {
            path: text(at),
            set: RDONLY | NOSUID | NODEV,
        },
        Step::Remove(made),
    ]
}
