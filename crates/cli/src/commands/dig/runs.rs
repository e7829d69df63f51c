//! Whether several runs differ as they could: what is fixed on this machine, or by the user.

use callgate_dig::Target;

/// What is the same in every run and need not be, a sentence each.
///
/// CPython chooses another hash seed for each process unless PYTHONHASHSEED fixes one, and a script runs
/// isolated from that variable; so seeds differ by themselves. (Setting one for each run would hide the
/// getrandom call by which CPython gets its own.)
pub(super) fn fixed(target: &Target) -> Vec<String> {
    let mut notes = Vec::new();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    if read("/proc/sys/kernel/randomize_va_space").trim() == "0" {
        notes.push(
            "the runs had the same memory layout: kernel.randomize_va_space is 0 on this machine".to_owned(),
        );
    }
    // personality(2): inherited, as from `setarch -R`.
    const ADDR_NO_RANDOMIZE: u64 = 0x0004_0000;
    let personality = read("/proc/self/personality");
    if u64::from_str_radix(personality.trim(), 16).is_ok_and(|bits| bits & ADDR_NO_RANDOMIZE != 0) {
        notes.push(
            "the runs had the same memory layout: callgate was started without address randomisation \
             (setarch -R)"
                .to_owned(),
        );
    }
    let seed = std::env::var("PYTHONHASHSEED").unwrap_or_default();
    if matches!(target, Target::Command { .. }) && seed.parse::<u32>().is_ok() {
        notes.push(format!(
            "the runs had the same hash seed: PYTHONHASHSEED is {seed}"
        ));
    }
    notes
}
