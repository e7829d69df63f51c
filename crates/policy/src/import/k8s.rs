//! `SeccompProfile` of the security-profiles-operator.

use callgate_abi::Arch;
use serde_json::{Map, Value};

use super::yaml::{Document, documents};
use super::{ImportError, Request};
use crate::Policy;
use crate::oci::{File, FileRule};
use crate::parse::{Unsound, assemble};

const GROUP: &str = "security-profiles-operator.x-k8s.io/";
const FIELDS: [&str; 6] = [
    "defaultAction",
    "architectures",
    "flags",
    "listenerPath",
    "listenerMetadata",
    "syscalls",
];
const RULE_FIELDS: [&str; 4] = ["names", "action", "errnoRet", "args"];

pub(super) fn read(
    text: &str,
    arch: Arch,
    request: &Request<'_>,
    notes: &mut Vec<String>,
) -> Result<Policy, ImportError> {
    let mut documents = documents(text)?;
    documents.retain(|document| document.value.get("kind").and_then(Value::as_str) == Some("SeccompProfile"));
    let names: Vec<&str> = documents.iter().map(name).collect();
    let all = || format!("it has the profiles {}", names.join(", "));
    let chosen = match (request.part, &names[..]) {
        (_, []) => return Err(ImportError::Part("no SeccompProfile in the file".to_owned())),
        (None, [_]) => 0,
        (None, _) => return Err(ImportError::Part(format!("{}: choose one with --part", all()))),
        (Some(part), _) => names
            .iter()
            .position(|name| *name == part)
            .ok_or_else(|| ImportError::Part(format!("no profile {part:?}: {}", all())))?,
    };
    profile(&documents[chosen], arch, notes)
}

fn name(document: &Document) -> &str {
    document
        .value
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or("(without a name)")
}

fn profile(document: &Document, arch: Arch, notes: &mut Vec<String>) -> Result<Policy, ImportError> {
    let version = document
        .value
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !version.starts_with(GROUP) {
        return Err(document.fault(
            "apiVersion",
            format!("expected {GROUP}v1beta1, found {version:?}"),
        ));
    }
    let Some(Value::Object(spec)) = document.value.get("spec") else {
        return Err(document.fault("spec", "a SeccompProfile has a spec with a defaultAction"));
    };
    let mut spec: Map<String, Value> = spec.clone();
    match spec.shift_remove("baseProfileName") {
        None | Some(Value::Null) => {}
        Some(base) => {
            let mend = "import it too, and unite the two with `policy merge`; take the line out here";
            return Err(document.fault(
                "spec.baseProfileName",
                format!("the profile builds on {base}: {mend}"),
            ));
        }
    }
    if spec.shift_remove("disabled") == Some(Value::Bool(true)) {
        notes.push("the profile is disabled in the cluster".to_owned());
    }
    if let Some(Value::Array(arches)) = spec.get_mut("architectures") {
        for word in arches.iter_mut().filter(|word| **word == "SCMP_ARCH_NATIVE") {
            notes.push(format!("SCMP_ARCH_NATIVE is read as {}", arch.scmp_name()));
            *word = Value::from(arch.scmp_name());
        }
    }
    // The API server drops what the schema does not have, so here it would mean what it does not there.
    foreign(document, "spec", &spec, &FIELDS)?;
    for (index, rule) in spec
        .get("syscalls")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        if let Value::Object(rule) = rule {
            foreign(document, &format!("spec.syscalls[{index}]"), rule, &RULE_FIELDS)?;
        }
    }
    let file: File<FileRule> = serde_path_to_error::deserialize(Value::Object(spec)).map_err(|error| {
        let path = match error.path().to_string() {
            top if top == "." => "spec".to_owned(),
            inner => format!("spec.{inner}"),
        };
        document.fault(&path, error.inner().to_string())
    })?;
    assemble(file, |rule| Some(rule.0)).map_err(|fault| match fault {
        Unsound::DefaultErrno(reason) => document.fault("spec.defaultAction", reason),
        Unsound::Void(void) => document.fault(
            &format!("spec.syscalls[{}]", void.overruled),
            format!(
                "gives {name} {}, but spec.syscalls[{}] gives it {} without a condition, which always wins: take \
                 {name} out of one of them",
                void.weak,
                void.overrules,
                void.strong,
                name = void.name
            ),
        ),
    })
}

fn foreign(
    document: &Document,
    path: &str,
    map: &Map<String, Value>,
    fields: &[&str],
) -> Result<(), ImportError> {
    match map.keys().find(|key| !fields.contains(&key.as_str())) {
        Some(key) => {
            let what = format!("unknown field: expected {}", fields.join(", "));
            Err(document.fault(&format!("{path}.{key}"), what))
        }
        None => Ok(()),
    }
}
