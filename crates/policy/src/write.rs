//! Policy → text: the same file, in a stable form.

use crate::Policy;
use crate::oci::{ActionName, File, FileRule, Own, ScmpArch};

impl Policy {
    /// The policy as its file: indented OCI JSON, one object per rule, with a newline at the end.
    /// Reading it again gives an equal policy.
    ///
    /// Rules for one architecture carry moby's `includes.arches`. Docker resolves that; crun and runc
    /// ignore it and apply such rules everywhere: give them [`emit::oci`](crate::emit::oci) for their
    /// architecture.
    ///
    /// # Errors
    /// None in practice: every part of a policy can be written as JSON.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let (default_action, default_errno_ret) = ActionName::of(self.default);
        let file: File<FileRule> = File {
            comment: self.comment.clone(),
            default_action,
            default_errno_ret,
            default_errno: None,
            architectures: Some(self.architectures.iter().cloned().map(ScmpArch).collect()),
            arch_map: None,
            flags: (!self.flags.is_empty()).then(|| self.flags.clone()),
            listener_path: self.listener_path.clone(),
            listener_metadata: self.listener_metadata.clone(),
            own: Own::of(self.unknown),
            syscalls: Some(self.rules.iter().cloned().map(FileRule).collect()),
        };
        let mut text = serde_json::to_string_pretty(&file)?;
        text.push('\n');
        Ok(text)
    }
}
