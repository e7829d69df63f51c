//! How much memory a recording takes, by the length of what it records.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{CALLGATE, interpreter, stop};

/// How often it is looked: a peak is kept by the kernel, and the end comes after it.
const GLANCE: Duration = Duration::from_millis(1);

/// Runs it, if what is wanted has its name, or nothing in particular is wanted.
pub(super) fn run(wanted: &[String], dir: &Path) {
    let name = "dig: memory by the length of the run";
    if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
        return;
    }
    println!("\n{name} (once)");
    let python = interpreter(None);
    for calls in [10_000, 10_000_000] {
        let script = dir.join("many.py");
        let text = format!("import os\nfor _ in range({calls}): os.getppid()\n");
        std::fs::write(&script, text).unwrap_or_else(|error| stop(&format!("{}: {error}", script.display())));
        let peak = peak(&python, &script, dir);
        println!("  {calls:>10} calls {peak:>10} KiB at the most");
    }
}

/// The peak of dig's own resident memory (VmHWM, proc_pid_status(5)).
fn peak(python: &str, script: &Path, dir: &Path) -> u64 {
    let mut dig = Command::new(CALLGATE)
        .args(["dig", "-o"])
        .arg(dir.join("trace"))
        .args(["--", python, "-I", "-B"])
        .arg(script)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| stop(&format!("dig: {error}")));
    let path = format!("/proc/{}/status", dig.id());
    let mut peak = 0;
    loop {
        match dig.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) if status.success() && peak > 0 => return peak,
            other => stop(&format!("dig of {}: {other:?}", script.display())),
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = kib.unwrap_or(peak);
        std::thread::sleep(GLANCE);
    }
}
