//! The names of capabilities (linux/capability.h), and those of a plain container.

/// Every capability without `CAP_`, by number, as of Linux 6.1 to 6.18.
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has in a plain `docker run` (docs.docker.com, "Runtime privilege and Linux capabilities").
pub const DOCKER_CAPS: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The full name of a capability: `CAP_SYS_ADMIN` for `sys_admin`, `SYS_ADMIN` and itself.
///
/// # Errors
/// A sentence about a word that is none.
pub fn capability(word: &str) -> Result<String, String> {
    let upper = word.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    match ALL.contains(&short) {
        true => Ok(format!("CAP_{short}")),
        false => Err(format!(
            "unknown capability {word:?}: expected CAP_SYS_ADMIN, CAP_NET_RAW …"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_with_and_without_their_prefix() {
        assert_eq!(capability("sys_admin").unwrap(), "CAP_SYS_ADMIN");
        assert_eq!(capability("CAP_BPF").unwrap(), "CAP_BPF");
        assert!(capability("CAP_SYS_ADMN").is_err());
        assert!(DOCKER_CAPS.iter().all(|cap| capability(cap).unwrap() == *cap));
    }
}
