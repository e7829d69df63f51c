//! The thread that stops most is bound to the tracer's CPU: neither it nor what it makes may see that.

use std::process::Command;

use super::{dig, trace_of};
use crate::support::{available, compiled, expect, json, scratch};

fn cpus() -> Result<(), String> {
    match std::thread::available_parallelism() {
        Ok(count) if count.get() > 1 => Ok(()),
        other => Err(format!("one CPU: nobody can be bound ({other:?})")),
    }
}

#[test]
fn a_probe_and_its_relatives_see_the_cpus_that_they_have_without_dig() {
    if !available("two CPUs", cpus()) {
        return;
    }
    let dir = scratch();
    let Some(program) = compiled("affinity", dir.path()) else {
        return;
    };
    expect(0, &mut Command::new(&program));
    for how in [&[][..], &["--counts"]] {
        // The exit code names the check that failed.
        for warm in ["", "1"] {
            let mut command = dig(how);
            command.arg("--").arg(&program);
            if !warm.is_empty() {
                command.env("WARM", warm);
            }
            let trace = json(&expect(0, &mut command));
            assert_eq!(trace["outcome"]["exit_code"], 0, "{how:?} {warm:?}");
        }
    }
    assert_eq!(
        trace_of(&program, &[])["counts"],
        "exact",
        "without warming up all stops"
    );
}
