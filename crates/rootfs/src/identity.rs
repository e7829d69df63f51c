//! Who the sandboxed code is: a uid, a gid, and the files from which C libraries read their names.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Who the sandboxed code is. Its name is `sandbox`, its home `/tmp`, the only directory it can write to.
///
/// ```
/// use callgate_rootfs::Identity;
///
/// let who = Identity { uid: 4242, gid: 4243 };
/// assert!(who.passwd().contains("sandbox:x:4242:4243:sandbox:/tmp:"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id, as seen inside the root.
    pub uid: u32,
    /// Group id, as seen inside the root.
    pub gid: u32,
}

/// The kernel's overflow id: what an id shows as that a user namespace doesn't map.
const NOBODY: u32 = 65534;

impl Identity {
    /// The user's and the group's name.
    pub const NAME: &'static str = "sandbox";
    /// The home directory.
    pub const HOME: &'static str = "/tmp";

    /// The files that name it, by their paths in a root.
    pub fn files(&self) -> [(&'static str, String); 2] {
        [("/etc/passwd", self.passwd()), ("/etc/group", self.group())]
    }

    /// `/etc/passwd` with this user, root and nobody, so that `getpwuid` finds an answer (passwd(5)).
    pub fn passwd(&self) -> String {
        let mut text = String::new();
        // This user first: getpwuid takes the first line with the uid, whatever the uid is.
        let Self { uid, gid } = self;
        let (name, home) = (Self::NAME, Self::HOME);
        let _ = writeln!(text, "{name}:x:{uid}:{gid}:{name}:{home}:/usr/sbin/nologin");
        for (id, name) in [(0, "root"), (NOBODY, "nobody")] {
            if id != *uid {
                let _ = writeln!(text, "{name}:x:{id}:{id}:{name}:/:/usr/sbin/nologin");
            }
        }
        text
    }

    /// `/etc/group` with this group, root and nogroup (group(5)).
    pub fn group(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{}:x:{}:", Self::NAME, self.gid);
        for (id, name) in [(0, "root"), (NOBODY, "nogroup")] {
            if id != self.gid {
                let _ = writeln!(text, "{name}:x:{id}:");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_line_even_when_it_is_nobodys() {
        let who = Identity { uid: NOBODY, gid: 0 };
        assert_eq!(who.passwd().matches(":65534:").count(), 1);
        assert!(who.passwd().starts_with("sandbox:x:65534:0:"));
        assert_eq!(who.group(), "sandbox:x:0:\nnogroup:x:65534:\n");
    }
}
