//! What a reader of a policy should know and would not see.

use callgate_abi::Arch;

use crate::{Policy, Unknown, names};

impl Policy {
    /// Where callgate reads the policy otherwise than other tools may, and what of it has no effect here.
    /// One sentence each, in a stable order.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let is_ours = |name: &str| Arch::ALL.iter().any(|arch| arch.scmp_name() == name);
        let foreign: Vec<&str> = self
            .architectures
            .iter()
            .map(String::as_str)
            .filter(|name| !is_ours(name))
            .collect();
        if !foreign.is_empty() {
            let list = foreign.join(", ");
            notes.push(format!(
                "calls through {list} are refused here, though the policy lists it"
            ));
        }
        for arch in Arch::ALL {
            let listed = self.architectures.iter().any(|name| name == arch.scmp_name());
            if !self.architectures.is_empty() && !listed {
                notes.push(format!(
                    "the policy does not list {}; runtimes use it there all the same",
                    arch.scmp_name()
                ));
            }
        }
        if self.unknown == Unknown::Enosys {
            notes.push(
                "numbers above the newest known call get ENOSYS here (x-callgate); crun and libseccomp give them the \
                 default action, and runc its own ENOSYS above the greatest number of the file"
                    .to_owned(),
            );
        }
        for (index, rule) in self.rules.iter().enumerate() {
            if let Some(arg) = (0..6).find(|i| rule.args.iter().filter(|arg| arg.index() == *i).count() > 1) {
                notes.push(format!(
                    "syscalls[{index}] compares argument {arg} more than once: here all comparisons must hold, \
                     in runc and crun one is enough"
                ));
            }
            let absent: Vec<&str> = rule
                .names
                .iter()
                .map(String::as_str)
                .filter(|name| Arch::ALL.iter().all(|arch| names::on(*arch, name).is_none()))
                .collect();
            if !absent.is_empty() {
                let list = absent.join(", ");
                notes.push(format!("syscalls[{index}]: neither amd64 nor arm64 has {list}"));
            }
        }
        notes
    }
}
