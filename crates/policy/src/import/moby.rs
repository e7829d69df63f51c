//! OCI and Docker's profile: conditions on the host are resolved, as moby does (profiles/seccomp).

use callgate_abi::Arch;

use super::{ImportError, Request};
use crate::oci::{File, HostRule};
use crate::parse::{assemble, read as read_json};
use crate::{Policy, Rule};

pub(super) fn read(
    text: &str,
    request: &Request<'_>,
    notes: &mut Vec<String>,
) -> Result<Policy, ImportError> {
    let file: File<HostRule> = read_json(text)?;
    let (mut index, mut told) = (0, Vec::new());
    let policy = assemble(file, |host| {
        let (rule, why) = resolve(host, request);
        let (verb, reasons) = match &why {
            Ok(reasons) => ("kept", reasons.join(", ")),
            Err(reason) => ("dropped", reason.clone()),
        };
        if !reasons.is_empty() {
            told.push(format!(
                "syscalls[{index}] {verb}: {reasons} ({})",
                rule.names.join(", ")
            ));
        }
        index += 1;
        why.is_ok().then_some(rule)
    })
    .map_err(|fault| fault.in_json(text))?;
    if !told.is_empty() {
        let caps = if request.caps.is_empty() {
            "none".to_owned()
        } else {
            request.caps.join(", ")
        };
        notes.push(format!(
            "resolved for Linux {} and these capabilities: {caps}",
            request.kernel
        ));
        notes.append(&mut told);
    }
    Ok(policy)
}

/// The rule without its conditions on the host, and why it was kept or dropped; no reasons: it had none.
fn resolve(host: HostRule, request: &Request<'_>) -> (Rule, Result<Vec<String>, String>) {
    let HostRule {
        mut rule,
        includes,
        excludes,
    } = host;
    let has = |cap: &&&str| request.caps.iter().any(|own| own == **cap);
    let mut kept = Vec::new();
    let (wanted, unwanted) = (includes.caps(), excludes.caps());
    if let Some(cap) = unwanted.iter().find(has) {
        return (rule, Err(format!("not with {cap}")));
    }
    if let Some(cap) = wanted.iter().find(|cap| !has(cap)) {
        return (rule, Err(format!("only with {cap}")));
    }
    if let Some(kernel) = excludes.min_kernel().filter(|kernel| request.kernel >= *kernel) {
        return (rule, Err(format!("not from Linux {kernel} on")));
    }
    if let Some(kernel) = includes.min_kernel().filter(|kernel| request.kernel < *kernel) {
        return (rule, Err(format!("only from Linux {kernel} on")));
    }
    kept.extend(wanted.iter().map(|cap| format!("with {cap}")));
    kept.extend(unwanted.iter().map(|cap| format!("without {cap}")));
    kept.extend(
        includes
            .min_kernel()
            .map(|kernel| format!("from Linux {kernel} on")),
    );
    kept.extend(
        excludes
            .min_kernel()
            .map(|kernel| format!("before Linux {kernel}")),
    );
    let (on, off) = (includes.arches(), excludes.arches());
    rule.arches = Some(on.clone()).filter(|on| !on.is_empty());
    if !off.is_empty() {
        // A rule says where it counts; for machines that callgate does not know, that is left open.
        let ours = Arch::ALL.iter().map(|arch| arch.name().to_owned());
        let left: Vec<String> = match on.is_empty() {
            true => ours.filter(|arch| !off.contains(arch)).collect(),
            false => on.into_iter().filter(|arch| !off.contains(arch)).collect(),
        };
        if left.is_empty() {
            return (rule, Err(format!("not on {}", off.join(", "))));
        }
        kept.push(format!("not on {}", off.join(", ")));
        rule.arches = match left.len() == Arch::ALL.len() && rule.arches.is_none() {
            true => None,
            false => Some(left),
        };
    }
    (rule, Ok(kept))
}
