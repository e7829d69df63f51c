//! What a filter costs: ns per system call under none, ours and libseccomp's, for the same policy.
//!
//! `cargo bench -p callgate-policy`. Each figure is the median of several children, in turn, so that a
//! disturbance meets all alike; read the differences and ratios of one run. Since Linux 5.11 the kernel
//! remembers at load time which calls a filter allows whatever their arguments, and does not run it for
//! them: the right half shows what is paid without that (older kernels, and every call that is refused or
//! has conditions), by filters that begin with a look at an argument.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod sys;

use std::io::Write;
use std::process::{Command, Stdio};

use callgate_abi::{Arch, Filter, Instruction};
use callgate_policy::bpf::{Program, SeccompData};
use callgate_policy::{Policy, compile, emit, shipped};
use sys::Call;

const ORACLE: &str = include_str!("../../tests/policy/libseccomp.py");
const POLICY: &str = "python";
const ROUNDS: usize = 15;
const CALLS: u32 = 200_000;

/// A cheap call that is allowed, one late in the list of numbers, and one with conditions.
fn calls() -> [(&'static str, Call); 3] {
    let call = |name: &str, args| Call {
        nr: Arch::NATIVE
            .call(name)
            .map_or_else(|error| stop(&error.to_string()), |call| call.nr()),
        args,
    };
    const PR_CAPBSET_READ: u64 = 23;
    [
        ("getppid", call("getppid", [0; 3])),
        // The first descriptor after the last: EINVAL, at once.
        ("close_range", call("close_range", [1, 0, 0])),
        ("prctl if …", call("prctl", [PR_CAPBSET_READ, 0, 0])),
    ]
}

fn main() {
    let policy = match shipped::load(POLICY) {
        Some(Ok(policy)) => policy,
        _ => stop("the shipped policy can't be read"),
    };
    let ours = compile(&policy, Arch::NATIVE).and_then(|compiled| compiled.link());
    let ours = ours.unwrap_or_else(|error| stop(&error.to_string()));
    let mut filters = vec![("no filter", None), ("callgate", Some(ours))];
    for (name, level) in [("libseccomp", "1"), ("libseccomp, tree", "2")] {
        match libseccomp(&policy, level) {
            Some(filter) => filters.push((name, Some(filter))),
            None => println!("{name}: not installed (apt install python3-seccomp)"),
        }
    }
    println!(
        "policy {POLICY}, {}: ns per call, median of {ROUNDS} × {CALLS} calls",
        Arch::NATIVE
    );
    let calls = calls();
    let names = calls.map(|(name, _)| format!("{name:>13}")).join("");
    println!(
        "{:17} {:>6} {names}  | without the kernel's cache\n{:17} {:>6} {names}  |{names}",
        "", "", "", "length"
    );
    let mut times = vec![vec![Vec::new(); calls.len() * 2]; filters.len()];
    for _ in 0..ROUNDS {
        for ((_, filter), times) in filters.iter().zip(&mut times) {
            for (column, times) in times.iter_mut().enumerate() {
                let (call, cached) = (calls[column % calls.len()].1, column < calls.len());
                let filter = filter
                    .clone()
                    .map(|filter| if cached { filter } else { uncached(filter) });
                times.push(
                    sys::time(filter.as_ref(), call, CALLS).unwrap_or_else(|error| stop(&error.to_string())),
                );
            }
        }
    }
    for ((name, filter), times) in filters.iter().zip(times) {
        let length = filter
            .as_ref()
            .map_or_else(String::new, |filter| filter.0.len().to_string());
        let ns: Vec<String> = times
            .into_iter()
            .map(|times| format!("{:>13.1}", median(times)))
            .collect();
        let (cached, uncached) = ns.split_at(calls.len());
        println!(
            "{name:17} {length:>6} {}  |{}",
            cached.concat(),
            uncached.concat()
        );
    }
    println!("instructions executed for each call");
    for (name, filter) in &filters {
        let Some(filter) = filter else { continue };
        let program = Program::new(filter).unwrap_or_else(|error| stop(&error.to_string()));
        let executed = calls.map(|(_, Call { nr, args: [a, b, c] })| {
            let data = SeccompData {
                nr,
                arch: Arch::NATIVE.audit(),
                instruction_pointer: 0,
                args: [a, b, c, 0, 0, 0],
            };
            format!("{:>13}", program.count(&data))
        });
        println!("{name:17} {:>6} {}", "", executed.concat());
    }
}

/// The same program behind a load of an argument, which the kernel's cache does not see through.
fn uncached(Filter(mut instructions): Filter) -> Filter {
    const LOAD: u16 = 0x20;
    const ARG5_LOW: u32 = 56;
    instructions.insert(
        0,
        Instruction {
            code: LOAD,
            jt: 0,
            jf: 0,
            k: ARG5_LOW,
        },
    );
    Filter(instructions)
}

/// libseccomp's program for the policy; nothing if it is not installed.
fn libseccomp(policy: &Policy, level: &str) -> Option<Filter> {
    let text = emit::oci(policy, Some(Arch::NATIVE)).ok()?.text;
    let mut child = Command::new("/usr/bin/python3")
        .args(["-I", "-c", ORACLE, level])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(text.as_bytes()).ok()?;
    let output = child.wait_with_output().ok()?;
    output
        .status
        .success()
        .then(|| Filter::from_bytes(&output.stdout))?
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn stop(why: &str) -> ! {
    eprintln!("bench: {why}");
    std::process::exit(1)
}
