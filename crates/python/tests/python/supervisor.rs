//! A supervisor of the smallest kind: it answers the prelude's marker and passes signals on.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsRawFd;
use std::process::Command;

use callgate_abi::Arch;
use callgate_python::prelude::{MARKER, Marker};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sys;

/// How a program ended, and what it wrote.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// An exit code, or 128 + a signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A command with its output going to files: a pipe could fill while nobody reads.
struct Captured(File, File);

impl Captured {
    fn of(command: &mut Command) -> Self {
        let files = Self(tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        command.stdin(std::process::Stdio::null());
        command
            .stdout(files.0.try_clone().unwrap())
            .stderr(files.1.try_clone().unwrap());
        files
    }

    fn ended(mut self, code: i32) -> Ended {
        let [stdout, stderr] = [&mut self.0, &mut self.1].map(|file| {
            let mut bytes = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Ended { code, stdout, stderr }
    }
}

/// Runs a command that nobody supervises.
pub fn alone(command: &mut Command) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    let captured = Captured::of(command);
    let status = command.status().unwrap();
    captured.ended(status.code().unwrap_or_else(|| 128 + status.signal().unwrap()))
}

/// Runs a command whose process is traced from its first instruction. The first marker call is made to
/// return `answer`. Tells also how often the marker was seen.
pub fn answered(command: &mut Command, code: &File, answer: u64) -> (Ended, usize) {
    let captured = Captured::of(command);
    sys::traced(command, code.as_raw_fd());
    let pid = Pid::from_raw(command.spawn().unwrap().id() as i32);
    let mut markers = 0;
    let mut at_marker = false;
    let wait = || waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap();
    assert_eq!(wait(), WaitStatus::Stopped(pid, Signal::SIGTRAP));
    ptrace::setoptions(
        pid,
        ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_EXITKILL,
    )
    .unwrap();
    let mut signal = None;
    loop {
        ptrace::syscall(pid, signal.take()).unwrap();
        match wait() {
            WaitStatus::PtraceSyscall(_) => {
                let mut regs = ptrace::getregset::<ptrace::regset::NT_PRSTATUS>(pid).unwrap();
                if at_marker {
                    set_result(&mut regs, answer);
                    ptrace::setregset::<ptrace::regset::NT_PRSTATUS>(pid, regs).unwrap();
                    at_marker = false;
                } else if is_marker_entry(pid) {
                    markers += 1;
                    at_marker = true;
                }
            }
            WaitStatus::Stopped(_, received) => signal = Some(received),
            WaitStatus::Exited(_, code) => return (captured.ended(code), markers),
            WaitStatus::Signaled(_, signal, _) => return (captured.ended(128 + signal as i32), markers),
            other => panic!("unexpected stop {other:?}"),
        }
    }
}

fn is_marker_entry(pid: Pid) -> bool {
    let lseek = u64::from(Arch::NATIVE.call(Marker::SYSCALL).unwrap().nr());
    sys::entered(&ptrace::syscall_info(pid).unwrap())
        .is_some_and(|(nr, args)| nr == lseek && MARKER.is_marker(&args))
}

#[cfg(target_arch = "x86_64")]
fn set_result(regs: &mut libc::user_regs_struct, value: u64) {
    regs.rax = value;
}

#[cfg(target_arch = "aarch64")]
fn set_result(regs: &mut libc::user_regs_struct, value: u64) {
    regs.regs[0] = value;
}
