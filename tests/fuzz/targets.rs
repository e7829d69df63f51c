//! One function for each parser: whatever the bytes are, it must end without a panic, and its error must
//! name a place. `cargo fuzz` calls them (`fuzz_targets/`), and so does a property test of the e2e binary.
//!
//! A new parser: a function here, a line in `TARGETS`, a file in `fuzz_targets/`, a seed in `corpus/`.

use std::io::Write;

use callgate_abi::{Arch, Filter};
use callgate_policy::bpf::{Program, SeccompData};
use callgate_policy::import as policy_import;
use callgate_policy::lint::lint;
use callgate_policy::{CompileError, Policy, compile, disassemble, verdicts};
use callgate_python::metadata::ScriptMetadata;
use callgate_rootfs::{Cache, Closure};
use callgate_trace::import::{Format, Import, ImportError};
use callgate_trace::{Merged, Trace};

/// A target, by the name that it has in `fuzz_targets/` and `corpus/`.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 8] = [
    ("policy", policy),
    ("import", import),
    ("trace", trace),
    ("recording", recording),
    ("metadata", metadata),
    ("bpf", bpf),
    ("elf", elf),
    ("ld_cache", ld_cache),
];

/// Whether an error says where: a line, a JSON path, an instruction, a byte.
fn named(error: &impl std::fmt::Display) {
    let text = error.to_string();
    let places = [
        "line",
        "at ",
        "syscalls",
        "instruction",
        "empty",
        "no system call",
        "--format",
        "schema",
    ];
    assert!(
        places.iter().any(|place| text.contains(place)),
        "no place in: {text}"
    );
}

/// Another tool's file, in every format: what is read is written as a policy and read again.
pub fn import(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for format in [
        policy_import::Format::Moby,
        policy_import::Format::K8s,
        policy_import::Format::Dify,
        policy_import::Format::Minijail,
        policy_import::Format::Seccompiler,
        policy_import::Format::Names,
        policy_import::Format::Numbers,
    ] {
        let request = policy_import::Request {
            format: Some(format),
            arch: Some(Arch::X86_64),
            kernel: policy_import::Kernel {
                version: 6,
                patchlevel: 1,
            },
            caps: &[],
            part: None,
            include: &|_| Ok("read: 1".to_owned()),
        };
        match policy_import::import(text, &request) {
            Ok(imported) => {
                let file = imported.policy.to_json().expect("a policy can be written");
                assert_eq!(
                    Policy::parse(&file).expect("what was written can be read"),
                    imported.policy
                );
            }
            Err(policy_import::ImportError::Part(_)) => {}
            Err(error) => named(&error),
        }
    }
}

/// A policy file: what is read is written and read again, linted and compiled.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(error) => return named(&error),
    };
    let again = Policy::parse(&policy.to_json().expect("a policy can be written"));
    assert_eq!(again.expect("what was written can be read"), policy);
    lint(&policy, &Arch::ALL);
    for arch in Arch::ALL {
        match compile(&policy, arch).and_then(|compiled| compiled.link()) {
            Ok(filter) => drop(Program::new(&filter).expect("the kernel would load it")),
            Err(CompileError::TooLong { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A trace, merged or not.
pub fn trace(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Trace::from_json(text) {
        Ok(trace) => {
            let again = Trace::from_json(&trace.to_json().expect("a trace can be written"));
            assert_eq!(again.expect("what was written can be read"), trace);
        }
        Err(error) => named(&error),
    }
    drop(Merged::from_json(text));
}

/// A recording of another tool: the first byte chooses the format, or that it is to be found out.
pub fn recording(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let format = match first {
        b's' => Some(Format::Strace),
        b'c' => Some(Format::StraceSummary),
        b'a' => Some(Format::Audit),
        b'1' => Some(Format::Numbers),
        b'n' => Some(Format::Names),
        _ => None,
    };
    let mut import = Import::new(Some(Arch::X86_64));
    let made = import.add("fuzz", text, format).and_then(|_| import.finish());
    match made {
        Ok(trace) => {
            let again = Trace::from_json(&trace.to_json().expect("a trace can be written"));
            assert_eq!(again.expect("what was imported can be read"), trace);
        }
        Err(error @ (ImportError::Line { .. } | ImportError::Format | ImportError::Nothing)) => named(&error),
    }
}

/// A script with a PEP 723 block.
pub fn metadata(data: &[u8]) {
    if let Err(error) = ScriptMetadata::read(data) {
        named(&error);
    }
}

/// A raw program: shown, checked, run, and followed.
pub fn bpf(data: &[u8]) {
    let Some(filter) = Filter::from_bytes(data) else {
        return;
    };
    for arch in Arch::ALL {
        assert_eq!(disassemble(&filter, arch).len(), filter.0.len());
    }
    let program = match Program::new(&filter) {
        Ok(program) => program,
        Err(error) => return named(&error),
    };
    // Following a program takes as long as it has paths: short ones show what there is to show.
    let found = (filter.0.len() <= 24).then(|| verdicts(&program, Arch::X86_64));
    for call in Arch::X86_64.calls() {
        for args in [[0; 6], [u64::MAX; 6], [0x1_0000_0001; 6]] {
            let data = SeccompData::new(call, args);
            let answer = callgate_abi::Action::from_ret(program.run(&data));
            assert!(program.count(&data) <= filter.0.len());
            let Some(found) = &found else { continue };
            let (_, said) = found
                .calls
                .iter()
                .find(|(known, _)| *known == call)
                .expect("every call is listed");
            assert!(
                said.sampled || said.actions.contains(&answer),
                "{call}: {said}, but {answer:?}"
            );
        }
    }
}

/// An ELF file, as the check of a root reads it.
pub fn elf(data: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(data).expect("it can be written");
    drop(Closure::of_host(file.path(), &[]));
}

/// `/etc/ld.so.cache`.
pub fn ld_cache(data: &[u8]) {
    match Cache::parse(data) {
        Ok(cache) => assert!(cache.entries().len() <= data.len()),
        Err(error) => named(&error),
    }
}
