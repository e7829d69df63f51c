//! Small C programs: nothing that a relative of the probe does is missed, nothing is mistaken for
//! something else, and the probe does not notice.

use super::{call, count, trace_of};
use crate::support::{compiled, expect, scratch};

fn family(which: &str) -> Option<serde_json::Value> {
    let dir = scratch();
    let program = compiled("family", dir.path())?;
    Some(trace_of(&program, &[which]))
}

#[test]
fn calls_of_threads_are_recorded() {
    let Some(trace) = family("threads") else { return };
    assert_eq!(count(&trace, "sched_getscheduler"), 4, "{trace:#}");
}

#[test]
fn calls_of_a_forked_child_are_recorded() {
    let Some(trace) = family("fork") else { return };
    assert_eq!(count(&trace, "getpriority"), 1, "{trace:#}");
}

#[test]
fn calls_of_a_vforked_program_and_of_its_parent_are_recorded() {
    let Some(trace) = family("vfork") else { return };
    assert_eq!(count(&trace, "getresuid"), 1, "{trace:#}");
    assert_eq!(count(&trace, "getsid"), 1, "{trace:#}");
    assert_eq!(count(&trace, "execve"), 2, "{trace:#}");
}

#[test]
fn a_program_that_a_thread_executed_is_recorded() {
    // The thread takes over its process's number and the main thread vanishes without a word.
    let Some(trace) = family("exec") else { return };
    assert_eq!(count(&trace, "getresuid"), 1, "{trace:#}");
    assert_eq!(count(&trace, "execve"), 2, "{trace:#}");
    assert_eq!(trace["outcome"]["exit_code"], 0, "{trace:#}");
}

#[test]
fn a_child_is_recorded_to_its_end_although_the_probe_has_ended() {
    let Some(trace) = family("orphan") else { return };
    assert_eq!(count(&trace, "getpriority"), 1, "{trace:#}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_through_other_entries_are_recorded_as_what_they_are() {
    use crate::support::available;
    let dir = scratch();
    let Some(program) = compiled("entries", dir.path()) else {
        return;
    };
    let bare = std::process::Command::new(&program).status().unwrap();
    let works = if bare.success() {
        Ok(())
    } else {
        Err(format!("int 0x80 without dig: {bare}"))
    };
    if !available("ia32", works) {
        return;
    }
    let trace = trace_of(&program, &[]);
    let of = |abi: &str| {
        let all = trace["syscalls"].as_array().unwrap();
        all.iter()
            .filter(|call| call["abi"] == abi)
            .cloned()
            .collect::<Vec<_>>()
    };
    let i386 = of("i386");
    assert_eq!(i386.len(), 1, "{i386:?}");
    assert_eq!((&i386[0]["name"], &i386[0]["nr"]), (&"getpid".into(), &20.into()));
    assert!(
        call(&trace, "writev").is_none(),
        "20 is writev in the x86-64 table, and was not called"
    );
    let x32 = of("x32");
    assert_eq!(x32.len(), 1, "{x32:?}");
    assert_eq!(
        (&x32[0]["name"], &x32[0]["nr"]),
        (&"getppid".into(), &(0x4000_0000 + 110).into())
    );
    assert!(
        call(&trace, "getppid").is_none(),
        "an x32 call is not its native namesake"
    );
    let unknown = call(&trace, "syscall_999").unwrap();
    assert_eq!(unknown["nr"], 999);
    assert_eq!(unknown["errors"]["ENOSYS"], 1);
}

#[test]
fn signals_and_job_control_are_as_without_dig() {
    let dir = scratch();
    let Some(program) = compiled("signals", dir.path()) else {
        return;
    };
    expect(0, &mut std::process::Command::new(&program));
    let trace = trace_of(&program, &[]); // the exit code would name the check that failed
    assert_eq!(trace["outcome"]["exit_code"], 0);
    let sleep = call(&trace, "clock_nanosleep")
        .or(call(&trace, "nanosleep"))
        .unwrap();
    assert!(
        sleep.get("errors").is_none(),
        "the kernel's own note to restart it is no error: {sleep}"
    );
}
