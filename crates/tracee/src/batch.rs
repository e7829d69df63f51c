//! Many calls in a row, made by a stopped tracee in our place; and memory for what calls point to.

use nix::errno::Errno;
use nix::sys::ptrace;

use crate::arch;
use crate::error::TraceeError;
use crate::inject::Injector;
use crate::stopped::{Reason, Resume, Stopped};
use crate::sys;

impl Injector {
    /// Maps fresh memory, readable and writable, and returns its address.
    ///
    /// # Errors
    /// [`TraceeError`] if the tracee is gone or the call fails.
    pub(crate) fn map(&mut self, len: u64) -> Result<u64, TraceeError> {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let kind = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        self.step("mmap", libc::SYS_mmap, [0, len, protection, kind, u64::MAX, 0])
    }

    /// Unmaps it.
    ///
    /// # Errors
    /// [`TraceeError`] if the tracee is gone or the call fails.
    pub(crate) fn unmap(&mut self, at: u64, len: u64) -> Result<(), TraceeError> {
        self.step("munmap", libc::SYS_munmap, [at, len, 0, 0, 0, 0])
            .map(drop)
    }

    /// The address of so many bytes below the tracee's stack and its red zone (System V ABI, AMD64 supplement, 3.2.2:
    /// 128 bytes), where a program that keeps to C's calling convention has nothing. A first thread's stack has at least
    /// 128 KiB from the exec on (`setup_arg_pages` in fs/exec.c): for a thread that is not deep in calls. What is written
    /// there stays until it is overwritten; nothing has to be mapped, which is two stops each time.
    pub fn below_stack(&self, len: u64) -> u64 {
        const RED_ZONE: u64 = 128;
        let top = arch::frame(&self.saved).stack.saturating_sub(RED_ZONE);
        top.saturating_sub(len) & !15
    }

    /// Performs the calls in their order, up to the first that fails: its place and errno are the inner error.
    /// `memory` is what they point to; it and the calls are put into the `room` bytes at `at`, which can be written to. The
    /// code that makes them stands meanwhile where the tracee made its last call, on a page that is a copy of its own from
    /// then on. It must have no other thread, which could come by there.
    ///
    /// All of them take one stop, where [`Injector::call`] takes two for each.
    ///
    /// # Errors
    /// The outer error if the tracee is gone or does something else, or there is not enough room.
    pub fn run(
        &mut self,
        (at, room): (u64, u64),
        memory: &[u8],
        calls: &[(i64, [u64; 6])],
    ) -> Result<Result<(), (usize, Errno)>, TraceeError> {
        if calls.is_empty() {
            return Ok(Ok(()));
        }
        let mut bytes = memory.to_vec();
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let list = at + bytes.len() as u64;
        for (nr, args) in calls {
            bytes.extend((*nr as u64).to_ne_bytes());
            bytes.extend(args.iter().flat_map(|word| word.to_ne_bytes()));
        }
        if bytes.len() as u64 > room {
            return Err(self.unexpected(format!("{} bytes of calls, and room for {room}", bytes.len())));
        }
        self.tracee.write(at, &bytes)?;
        let code = self.instruction;
        let mut replaced = arch::LOOP;
        if self.tracee.read(code, &mut replaced)? != replaced.len() {
            return Err(self.unexpected(format!("its code at {code:#x} can't be read")));
        }
        self.tracee.poke(code, &arch::LOOP)?;

        let mut registers = self.saved;
        arch::prepare_loop(&mut registers, code, list, calls.len() as u64);
        ptrace::setregs(self.tracee.pid(), registers).map_err(self.tracee.error("PTRACE_SETREGSET"))?;
        // A trap that is blocked would cost the program its handler (force_sig in kernel/signal.c).
        self.block(!(1 << (libc::SIGTRAP - 1)))?;
        self.next_stop(Resume::Freely, Reason::Signal(libc::SIGTRAP))?;
        // The trap was ours: the tracee is stopped as before, and gets no signal when it goes on.
        self.tracee = Stopped::new(self.tracee.tid(), Reason::Syscall);
        self.block(u64::MAX)?;
        self.tracee.poke(code, &replaced)?;
        let registers = ptrace::getregs(self.tracee.pid()).map_err(self.tracee.error("PTRACE_GETREGSET"))?;
        match arch::after_loop(&registers) {
            (0, _) => Ok(Ok(())),
            (left, result) if left <= calls.len() as u64 && (-4095..0).contains(&result) => {
                let place = calls.len() - left as usize;
                Ok(Err((place, Errno::from_raw(-result as i32))))
            }
            other => Err(self.unexpected(format!("its calls ended with {other:?}"))),
        }
    }

    fn block(&self, mask: u64) -> Result<(), TraceeError> {
        sys::block(self.tracee.tid(), mask).map_err(self.tracee.error("PTRACE_SETSIGMASK"))
    }
}
