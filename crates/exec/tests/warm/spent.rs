//! What a run has used up is neither told of the next of its bed nor counted against it, which may have the same cgroup.

use callgate_exec::{Status, Template};
use callgate_testing::{available, root};

use crate::support::{printed, run, spec};

/// Each uses up something else.
const SPENDERS: [(&str, Status); 7] = [
    (
        "held = bytearray(40 << 20)\nfor i in range(0, len(held), 4096): held[i] = 1",
        Status::Exited,
    ),
    ("open('/tmp/left', 'wb').write(bytes(30 << 20))", Status::Exited),
    (
        "import threading\nall = [threading.Thread(target=threading.Event().wait, args=(.05,)) for _ in range(6)]\n\
         for one in all: one.start()",
        Status::Exited,
    ),
    (
        "import os\nif os.fork() == 0: os._exit(0)\nos.wait()",
        Status::Exited,
    ),
    (
        "import os, time\nfor _ in range(40):\n    try:\n        if os.fork() == 0: time.sleep(60)\n    except OSError: pass",
        Status::Exited,
    ),
    ("held = b'x' * (200 << 20)", Status::Oom),
    (
        "import time\nwhile time.process_time() < .4: pass",
        Status::Exited,
    ),
];

#[test]
fn what_a_run_used_is_neither_told_of_the_next_nor_counted_against_it() {
    if !available("root", root()) {
        return;
    }
    let mut spec = spec(&[]);
    spec.beds = 1;
    spec.limits.memory = Some(64 << 20);
    spec.limits.pids = 16;
    let template = Template::start(spec).unwrap();
    let first = run(&template, "print(1)");
    let told = first
        .usage
        .memory_peak_bytes
        .ok_or("no cgroup for the run".to_owned());
    if !available("cgroups", told.map(drop)) {
        return;
    }
    for (code, status) in SPENDERS {
        for _ in 0..2 {
            let spender = run(&template, code);
            assert_eq!(spender.status, status, "{code}: {spender:#?}");
            let next = run(&template, "print(1)");
            let usage = &next.usage;
            assert_eq!((next.status, next.limit), (Status::Exited, None), "after {code}");
            assert_eq!(usage.pids_peak, first.usage.pids_peak, "after {code}");
            assert!(
                usage.memory_peak_bytes < Some(20 << 20),
                "after {code}: {usage:?}"
            );
            assert!(usage.cpu_ms < 300, "after {code}: {usage:?}");
        }
    }
    // As much as before is to be had still.
    let all = "held = bytearray(50 << 20)\nfor i in range(0, len(held), 4096): held[i] = 1\nprint('had')";
    for _ in 0..3 {
        assert_eq!(printed(&template, all), "had\n");
    }
}
