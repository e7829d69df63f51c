//! What can stand at one path of a root.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What stands at one path of a root.
///
/// Everything that comes from the host is read-only inside; only [`Entry::Tmp`] is writable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A directory that holds other entries, with its permission bits.
    Dir {
        /// Permission bits, e.g. `0o755`.
        mode: u32,
    },
    /// One regular file of the host, read-only.
    File {
        /// The file on the host; never a symlink.
        source: PathBuf,
    },
    /// A whole directory of the host, read-only.
    Tree {
        /// The directory on the host; never a symlink.
        source: PathBuf,
    },
    /// An empty, read-only directory over one that the [`Entry::Tree`] above it has, so that its content isn't
    /// seen: the base installation's `site-packages`, when a virtual environment doesn't use them.
    Hidden,
    /// A socket, a fifo or a device of the [`Entry::Tree`] above it: what is mounted shows nothing of it, and what
    /// is written out leaves it out. A read-only mount alone would let a socket be connected to.
    Masked,
    /// A symbolic link, as the host has it.
    Symlink {
        /// What the link says; as seen from inside the root.
        target: PathBuf,
    },
    /// A file that the host doesn't have, such as the root's own `/etc/passwd`.
    Text {
        /// Its whole content.
        bytes: Vec<u8>,
        /// Permission bits, e.g. `0o644`.
        mode: u32,
    },
    /// A character device.
    Device(Device),
    /// A writable scratch directory, mode 1777. It may have entries below it.
    Tmp,
}

impl Entry {
    /// A file of the root's own that everybody may read.
    pub(crate) fn text(text: String) -> Self {
        Self::Text {
            bytes: text.into_bytes(),
            mode: 0o644,
        }
    }

    /// The word for this kind of entry, as messages use it.
    pub fn kind(&self) -> &'static str {
        match self {
            Entry::Dir { .. } => "directory",
            Entry::File { .. } => "file",
            Entry::Tree { .. } => "tree",
            Entry::Hidden => "hidden directory",
            Entry::Masked => "masked file",
            Entry::Symlink { .. } => "symlink",
            Entry::Text { .. } => "text file",
            Entry::Device(_) => "device",
            Entry::Tmp => "scratch directory",
        }
    }

    /// Whether other entries can stand below this one.
    pub fn is_directory(&self) -> bool {
        matches!(
            self,
            Entry::Dir { .. } | Entry::Tree { .. } | Entry::Hidden | Entry::Tmp
        )
    }
}

/// A character device that gives nothing of the host away. Numbers: Linux `Documentation/admin-guide/devices.txt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Device {
    /// `/dev/null`
    Null,
    /// `/dev/zero`
    Zero,
    /// `/dev/full`
    Full,
    /// `/dev/random`
    Random,
    /// `/dev/urandom`
    Urandom,
}

impl Device {
    /// All of them, in the order of their minor numbers.
    pub const ALL: [Device; 5] = [
        Device::Null,
        Device::Zero,
        Device::Full,
        Device::Random,
        Device::Urandom,
    ];

    /// The name below `/dev`.
    pub fn name(self) -> &'static str {
        match self {
            Device::Null => "null",
            Device::Zero => "zero",
            Device::Full => "full",
            Device::Random => "random",
            Device::Urandom => "urandom",
        }
    }

    /// Major and minor number.
    pub fn numbers(self) -> (u64, u64) {
        let minor = match self {
            Device::Null => 3,
            Device::Zero => 5,
            Device::Full => 7,
            Device::Random => 8,
            Device::Urandom => 9,
        };
        (1, minor)
    }
}
