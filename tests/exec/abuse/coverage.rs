//! What is feared, by class, and the programs that try it: none is without one.

use std::collections::BTreeSet;

use super::{Case, calls, files, lifetime, network, resources, startup};
use crate::support::{repository, sources};

/// Where something is tried.
enum Tried {
    /// By these programs of the table.
    Here(&'static [&'static str]),
    /// By tests of their own.
    By(&'static [&'static str]),
}

use Tried::{By, Here};

const FEARED: &[(&str, &[(&str, Tried)])] = &[
    (
        "resources",
        &[
            (
                "fork bombs",
                Here(&["a bomb of processes", "a bomb of processes whose parents end"]),
            ),
            ("thread bombs", Here(&["a bomb of threads"])),
            (
                "memory in one process",
                Here(&["memory in one process", "locked memory"]),
            ),
            ("memory in many processes", Here(&["memory in many processes"])),
            (
                "memfd",
                Here(&["memory in a memory file", "a memory file that is too large"]),
            ),
            (
                "/dev/shm",
                Here(&[
                    "memory that is shared and no file",
                    "a flood of /tmp and of /dev/shm",
                ]),
            ),
            ("many files and inodes", Here(&["many files", "memory in /tmp"])),
            ("sparse giants", Here(&["a sparse giant"])),
            (
                "output floods",
                Here(&["a flood of both streams at once", "a flood without an end"]),
            ),
            (
                "CPU spin",
                Here(&["a spin", "a spin in many processes, each for a moment"]),
            ),
            (
                "sleep for ever, ignored signals",
                Here(&["a sleep for ever, deaf to signals"]),
            ),
            (
                "descriptors",
                Here(&[
                    "more descriptors than it may have",
                    "more descriptors by raising its limit",
                ]),
            ),
            ("stack smash", Here(&["a stack without an end"])),
            (
                "IPC objects that outlive the run",
                Here(&[
                    "IPC objects that outlive it",
                    "IPC objects of the one before",
                    "message queues",
                ]),
            ),
            ("priority", Here(&["a place before all others"])),
        ],
    ),
    (
        "lifetime",
        &[
            (
                "daemonised grandchildren",
                Here(&[
                    "grandchildren that have left for a session of their own, deaf to signals",
                    "a child that no tracer is told of",
                    "orphans that it gathers itself",
                ]),
            ),
            ("held pipes", Here(&["daemons that hold the output"])),
            ("zombies", Here(&["children that nobody waits for"])),
            (
                "a killed supervisor",
                By(&[
                    "a_killed_supervisor_leaves_nothing_running",
                    "what_a_killed_supervisor_left_is_swept_at_the_next_start_and_what_others_have_is_not",
                ]),
            ),
            (
                "SIGSTOP to itself",
                Here(&["a stop of itself", "a daemon that has stopped itself"]),
            ),
            ("kill(-1)", Here(&["the death of everybody"])),
            (
                "kill(parent)",
                Here(&["the death of its parent", "the death of its group"]),
            ),
            (
                "races with the end",
                Here(&[
                    "births without an end as the first ends",
                    "a thread that goes on when the first has ended",
                    "another program in its place",
                ]),
            ),
        ],
    ),
    (
        "files",
        &[
            ("host secrets", Here(&["the host's secrets"])),
            (
                "sibling runs",
                By(&["runs_side_by_side_neither_see_nor_signal_nor_trace_one_another"]),
            ),
            (
                "`..` and chroot tricks",
                Here(&[
                    "what links and dots lead to",
                    "a way out of the root by a second one",
                    "the directory above its own",
                ]),
            ),
            ("/proc of others", Here(&["/proc of others, and its own"])),
            (
                "writes to libraries",
                Here(&[
                    "the libraries, by writing, linking, changing their mode and owner",
                    "the root, by making things in it",
                ]),
            ),
            (
                "odd names",
                Here(&["names, depths and modes that are hard to remove"]),
            ),
            ("devices", Here(&["devices"])),
            (
                "setuid and file capabilities",
                Here(&[
                    "another user, by a program that becomes its owner",
                    "capabilities from a file",
                ]),
            ),
            ("mounts", Here(&["mounts"])),
            ("leaked descriptors", Here(&["the supervisor's descriptors"])),
            (
                "directories as streams",
                By(&["a_stream_that_is_a_directory_is_no_way_out_of_the_root"]),
            ),
            (
                "leftovers in /tmp",
                By(&[
                    "what_a_run_leaves_in_a_built_root_is_gone_for_the_next",
                    "many_runs_leave_nothing",
                ]),
            ),
            ("lock-file channels", Here(&["locks on what is shared"])),
        ],
    ),
    (
        "calls",
        &[
            (
                "i386 and x32 entry",
                By(&["entries_that_a_policy_can_not_name_are_refused_and_told_apart"]),
            ),
            ("64-bit ioctl arguments, TIOCSTI", Here(&["ioctl"])),
            ("namespaces", Here(&["clone", "clone3", "unshare", "setns"])),
            (
                "ptrace and process_vm_*",
                Here(&["ptrace", "process_vm_readv", "process_vm_writev"]),
            ),
            ("io_uring", Here(&["io_uring_setup"])),
            ("bpf", Here(&["bpf"])),
            ("userfaultfd", Here(&["userfaultfd"])),
            (
                "keyrings",
                By(&["no_key_of_the_supervisor_is_there_and_none_is_left_at_every_tier"]),
            ),
            ("personality", Here(&["personality"])),
            ("memfd and execveat", Here(&["memfd_create", "execveat"])),
            ("a second seccomp()", Here(&["seccomp"])),
            ("pidfd_getfd", Here(&["pidfd_getfd"])),
        ],
    ),
    (
        "network",
        &[
            ("any socket when closed", Here(&["socket", "raw packets"])),
            (
                "the host's loopback and its own API",
                Here(&[
                    "a service of the host, over TCP",
                    "a service of the host, over UDP",
                ]),
            ),
            ("metadata addresses", Here(&["the metadata address"])),
            ("abstract sockets", Here(&["an abstract socket of the host"])),
            (
                "AF_VSOCK, AF_ALG, AF_NETLINK, AF_PACKET",
                Here(&["socket", "what the network looks like"]),
            ),
        ],
    ),
    (
        "start-up",
        &[
            ("environment secrets", Here(&["the supervisor's environment"])),
            ("missing passwd entry", Here(&["no entry in passwd"])),
            ("core dumps to a pipe", Here(&["a core dump"])),
            (
                "names hoisted over the bootstrap",
                Here(&[
                    "names over those of the bootstrap",
                    "modules of its directory",
                    "the interpreter's own variables",
                    "the loader's own variables",
                ]),
            ),
            (
                "sitecustomize and .pth",
                By(&["a_process_that_start_up_leaves_behind_is_not_let_past_the_filter"]),
            ),
            (
                "each set-up step failing",
                By(&["a_step_that_is_refused_leaves_the_code_unrun_and_says_which_why_and_what_to_do"]),
            ),
            (
                "forged results",
                Here(&[
                    "a forged outcome",
                    "the exit code of a set-up that failed",
                    "the signal of a refused call",
                    "a tracer of its own",
                ]),
            ),
            (
                "terminal escapes",
                Here(&["terminal escapes, and bytes that are no text"]),
            ),
        ],
    ),
];

#[test]
fn every_class_that_is_feared_is_tried() {
    let calls = calls::cases();
    let tables: [&[Case]; 6] = [
        resources::CASES,
        lifetime::CASES,
        files::CASES,
        &calls,
        network::CASES,
        startup::CASES,
    ];
    let cases: Vec<&Case> = tables.into_iter().flatten().collect();
    let text = sources(&repository().join("tests"));
    let doors = calls::names();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name).chain(doors.clone()).collect();
    assert!(names.len() >= 60, "{}", names.len());
    let mut named = BTreeSet::new();
    for (class, feared) in FEARED {
        for (what, tried) in *feared {
            match tried {
                Here(programs) => {
                    assert!(!programs.is_empty(), "{class}: {what}");
                    for program in *programs {
                        assert!(names.contains(program), "{class}: {what}: no case {program:?}");
                        named.insert(*program);
                    }
                }
                By(tests) => {
                    for test in *tests {
                        assert!(
                            text.contains(&format!("fn {test}()")),
                            "{class}: {what}: no test {test}"
                        );
                    }
                }
            }
        }
    }
    // The calls speak for themselves; every other program is there for a reason.
    let calls: BTreeSet<&str> = calls.iter().map(|case| case.name).chain(doors).collect();
    let rest: Vec<_> = names
        .difference(&named)
        .filter(|name| !calls.contains(*name))
        .collect();
    assert!(rest.is_empty(), "{rest:?}");
    // Each is tried at tier full, and what another tier does not hold has a reason.
    for case in &cases {
        assert!(case.ends[0].is_ok(), "{}", case.name);
        assert!(
            case.ends
                .iter()
                .flat_map(|end| end.as_ref().err())
                .all(|why| why.len() > 20),
            "{}",
            case.name
        );
    }
}
