//! Architectures (what policies are written for) and ABIs (ways to enter the kernel).

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::{Syscall, UnknownName};

/// A machine that a policy is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Arch {
    /// x86-64; `amd64` in Go's, Docker's and Debian's words.
    #[serde(rename = "amd64")]
    X86_64,
    /// AArch64; `arm64` in Go's, Docker's and Debian's words.
    #[serde(rename = "arm64")]
    Aarch64,
}

impl Arch {
    /// Both, in the order in which they are shown.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// The architecture that this program was built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;
    /// The architecture that this program was built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::Aarch64;

    /// `amd64` or `arm64`: the word used in policies, reports and options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The name in OCI files: `SCMP_ARCH_X86_64`, `SCMP_ARCH_AARCH64`.
    pub const fn scmp_name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
        }
    }

    /// The native 64-bit entry of this machine.
    pub const fn abi(self) -> Abi {
        match self {
            Self::X86_64 => Abi::X86_64,
            Self::Aarch64 => Abi::Aarch64,
        }
    }

    /// The value of `seccomp_data.arch` for native calls (`AUDIT_ARCH_*`, linux/audit.h).
    pub const fn audit(self) -> u32 {
        self.abi().audit()
    }

    /// The call of that name on this machine.
    ///
    /// # Errors
    /// [`UnknownName`] if this machine has no such call.
    pub fn call(self, name: &str) -> Result<Syscall, UnknownName> {
        Syscall::named(self.abi(), name)
    }

    /// The greatest number that has a name on this machine: what lies above it came with later kernels.
    pub fn newest(self) -> u32 {
        static NEWEST: OnceLock<[u32; 2]> = OnceLock::new();
        let greatest = |arch: Self| arch.calls().map(Syscall::nr).max().unwrap_or_default();
        NEWEST.get_or_init(|| Self::ALL.map(greatest))[self as usize]
    }

    /// Every call that has a name on this machine, by number.
    pub fn calls(self) -> impl Iterator<Item = Syscall> {
        crate::table::numbers(self.abi())
            .into_iter()
            .map(move |nr| Syscall::new(self.abi(), nr))
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no architecture we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown architecture {0:?}: expected amd64 (x86_64) or arm64 (aarch64)")]
pub struct UnknownArch(pub String);

impl FromStr for Arch {
    type Err = UnknownArch;

    /// Reads `amd64`, `x86_64`, `SCMP_ARCH_X86_64`, `arm64`, `aarch64`, `SCMP_ARCH_AARCH64`.
    fn from_str(word: &str) -> Result<Self, UnknownArch> {
        match word {
            "amd64" | "x86_64" | "x86-64" | "SCMP_ARCH_X86_64" => Ok(Self::X86_64),
            "arm64" | "aarch64" | "SCMP_ARCH_AARCH64" => Ok(Self::Aarch64),
            _ => Err(UnknownArch(word.to_owned())),
        }
    }
}

/// A way to enter the kernel: each has numbers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Abi {
    /// 64-bit `syscall` on x86-64.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 32-bit `int 0x80` or `sysenter`, also from a 64-bit process.
    I386,
    /// `syscall` with bit 30 of the number set: 32-bit pointers in 64-bit mode.
    X32,
    /// 64-bit `svc` on arm64.
    Aarch64,
    /// 32-bit arm (EABI), also on an arm64 kernel.
    Arm,
}

impl Abi {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::X86_64, Self::I386, Self::X32, Self::Aarch64, Self::Arm];

    /// The bit that marks an x32 call in the number (`__X32_SYSCALL_BIT`, asm/unistd.h).
    pub const X32_BIT: u32 = 0x4000_0000;

    /// The value of `seccomp_data.arch` (`AUDIT_ARCH_*`, linux/audit.h). x32 shares x86-64's.
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// The ABI of a call from what the kernel reports with it: architecture and number.
    /// `None` for an architecture that callgate does not know.
    pub fn of(audit_arch: u32, nr: u64) -> Option<Self> {
        match audit_arch {
            0xc000_003e if nr & u64::from(Self::X32_BIT) != 0 && nr <= u64::from(u32::MAX) => Some(Self::X32),
            0xc000_003e => Some(Self::X86_64),
            0x4000_0003 => Some(Self::I386),
            0xc000_00b7 => Some(Self::Aarch64),
            0x4000_0028 => Some(Self::Arm),
            _ => None,
        }
    }

    /// The machine whose native entry this is; `None` for the compatibility entries.
    pub const fn arch(self) -> Option<Arch> {
        match self {
            Self::X86_64 => Some(Arch::X86_64),
            Self::Aarch64 => Some(Arch::Aarch64),
            Self::I386 | Self::X32 | Self::Arm => None,
        }
    }

    /// The word used in traces and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::I386 => "i386",
            Self::X32 => "x32",
            Self::Aarch64 => "aarch64",
            Self::Arm => "arm",
        }
    }
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
