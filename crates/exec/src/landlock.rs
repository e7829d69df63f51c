//! The Landlock layer: what may be read, written and connected to, whatever the mounts say.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use callgate_launch::Step;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    Scope,
};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::host::Reach;
use crate::run::Network;
use crate::setup::path;
use crate::sys;

/// A ruleset that is ready to be enforced.
pub(crate) struct Layer {
    fd: OwnedFd,
    abi: ABI,
    version: i32,
    tcp: bool,
}

/// The Landlock version of the running kernel (`LANDLOCK_CREATE_RULESET_VERSION`); `None` if there is
/// no Landlock or it is not enabled.
///
/// # Errors
/// The errno of a refusal: the kernel may have it, but we are kept from it.
pub(crate) fn version() -> nix::Result<Option<i32>> {
    match sys::landlock_version() {
        Ok(version) => Ok(Some(version).filter(|version| *version > 0)),
        Err(Errno::ENOSYS | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

impl AsFd for Layer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Layer {
    /// A ruleset that handles every right this kernel knows: what is not allowed afterwards is
    /// refused. TCP is refused altogether unless the network is the host's.
    pub(crate) fn new(version: i32, network: Network) -> Result<Option<Self>, RulesetError> {
        let abi = match version {
            i32::MIN..=0 => return Ok(None),
            1 => ABI::V1,
            2 => ABI::V2,
            3 => ABI::V3,
            4 => ABI::V4,
            5 => ABI::V5,
            _ => ABI::V6,
        };
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(abi))?;
        let tcp = network == Network::None && version >= 4;
        if tcp {
            ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
        }
        if version >= 6 {
            ruleset = ruleset.scope(Scope::from_all(abi))?;
        }
        let fd: Option<OwnedFd> = ruleset.create()?.into();
        Ok(fd.map(|fd| Self {
            fd,
            abi,
            version,
            tcp,
        }))
    }

    /// The kernel's Landlock version.
    pub(crate) fn version(&self) -> i32 {
        self.version
    }

    /// The layer's name, with the version that is in force.
    pub(crate) fn name(&self) -> String {
        let open = if self.tcp || self.version < 4 {
            ""
        } else {
            ", TCP open"
        };
        format!("landlock (ABI {}{open})", self.version)
    }

    /// Whether abstract sockets of others are out of reach (version 6).
    pub(crate) fn scopes_sockets(&self) -> bool {
        self.version >= 6
    }

    /// The steps that allow what is said of paths of the host, and then enforce it.
    pub(crate) fn host_steps(&self, reachable: &[(PathBuf, Reach)]) -> Vec<Step> {
        let ruleset = self.fd.as_raw_fd();
        let allow = |(at, reach): &(PathBuf, Reach)| Step::LandlockAllow {
            ruleset,
            path: path(at),
            access: match reach {
                Reach::Tree => AccessFs::from_read(self.abi),
                Reach::Listing => AccessFs::ReadDir.into(),
                Reach::File => AccessFs::ReadFile | AccessFs::Execute,
                Reach::Device => self.device(),
                Reach::Scratch => self.scratch(),
            }
            .bits(),
        };
        let mut steps: Vec<Step> = reachable.iter().map(allow).collect();
        steps.push(Step::LandlockEnforce { ruleset });
        steps
    }

    /// The steps that allow everything beneath a directory, and those that enforce it: no more than what file
    /// permissions allow, and nothing elsewhere.
    pub(crate) fn beneath(&self, directory: &Path) -> (Step, Step) {
        let ruleset = self.fd.as_raw_fd();
        let allow = Step::LandlockAllow {
            ruleset,
            path: path(directory),
            access: AccessFs::from_all(self.abi).bits(),
        };
        (allow, Step::LandlockEnforce { ruleset })
    }

    /// Does what steps that allow something do in a root that they are taken in, from outside: `root` is its directory.
    ///
    /// # Errors
    /// The path, and why.
    pub(crate) fn fill(&self, root: BorrowedFd<'_>, steps: &[Step]) -> Result<(), (PathBuf, std::io::Error)> {
        for step in steps {
            let Step::LandlockAllow { path, access, .. } = step else {
                continue;
            };
            let inside = Path::new(OsStr::from_bytes(path.to_bytes()));
            let below = inside.strip_prefix("/").unwrap_or(inside);
            let allowed = match below.as_os_str().is_empty() {
                true => sys::landlock_allow(self.as_fd(), root, *access),
                false => openat(
                    root,
                    below,
                    OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                    Mode::empty(),
                )
                .and_then(|file| sys::landlock_allow(self.as_fd(), file.as_fd(), *access)),
            };
            allowed.map_err(|errno| (inside.to_owned(), errno.into()))?;
        }
        Ok(())
    }

    /// Not devices, and no device ioctls: what a scratch directory is for.
    fn scratch(&self) -> BitFlags<AccessFs> {
        AccessFs::from_all(self.abi) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev)
    }

    fn device(&self) -> BitFlags<AccessFs> {
        AccessFs::from_file(self.abi) & !(AccessFs::Execute | AccessFs::Truncate)
    }

    /// The steps that allow reading everywhere, writing in the scratch directories and to the devices,
    /// and then enforce all of it. Paths are as seen in the root.
    pub(crate) fn steps(&self, scratch: &[&Path], devices: &[&Path]) -> Vec<Step> {
        let ruleset = self.fd.as_raw_fd();
        let allow = |at: &Path, access: u64| Step::LandlockAllow {
            ruleset,
            path: path(at),
            access,
        };
        let read = AccessFs::from_read(self.abi);
        let mut steps = vec![allow(Path::new("/"), read.bits())];
        steps.extend(scratch.iter().map(|at| allow(at, self.scratch().bits())));
        steps.extend(devices.iter().map(|at| allow(at, self.device().bits())));
        steps.push(Step::LandlockEnforce { ruleset });
        steps
    }
}
