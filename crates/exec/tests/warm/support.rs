//! A template for the tests.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::OnceLock;

use callgate_abi::{Action, Filter, Instruction};
use callgate_exec::{Job, Outcome, Root, Spec, Template};
use callgate_python::interpreter::Interpreter;
use callgate_tracee::Stopper;

/// The interpreter behind `python3`, or that which `CALLGATE_TEST_PYTHON` names.
pub fn interpreter() -> &'static Interpreter {
    static FOUND: OnceLock<Interpreter> = OnceLock::new();
    FOUND.get_or_init(|| {
        let path = std::env::var_os("CALLGATE_TEST_PYTHON").map(PathBuf::from);
        Interpreter::inspect(&path.unwrap_or_else(|| Interpreter::find().unwrap())).unwrap()
    })
}

/// A filter that lets everything pass.
pub fn open() -> Filter {
    const RETURN: u16 = 0x06;
    Filter(vec![Instruction {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: Action::Allow.ret(),
    }])
}

/// A spec with everything open, and these modules.
pub fn spec(modules: &[&str]) -> Spec {
    let python = interpreter();
    let mut spec = Spec::new(
        python.executable.clone(),
        Root::ForPython(Box::new(python.clone())),
        open(),
    );
    spec.preimport = modules.iter().map(ToString::to_string).collect();
    spec
}

/// Runs this code; its outcome.
pub fn run(template: &Template, code: &str) -> Outcome {
    template.run(Job::new(code.as_bytes().to_vec(), "<code>".to_owned()), |_| {})
}

/// Runs this code; what it printed, if it ended well.
pub fn printed(template: &Template, code: &str) -> String {
    let outcome = run(template, code);
    assert_eq!(outcome.exit_code, 0, "{outcome:#?}");
    outcome.stdout.unwrap()
}

/// The number of the process that a handle is on (pidfd_open(2): fdinfo).
pub fn number(stopper: &Stopper) -> i32 {
    let fd = stopper.pidfd().unwrap().as_raw_fd();
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap();
    line.trim().parse().unwrap()
}
