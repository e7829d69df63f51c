//! The process that makes residents: it shares its memory with them, so that making one copies nothing.

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, Ordering};

use super::steps::close_except;
use super::{errno, exit, report, restore_signals, run_all};
use crate::launch::Init;
use crate::report::Record;
use crate::step::Step;

/// Room for a resident's steps, the largest of which puts a whole filter on the stack.
const STACK: usize = 256 << 10;

/// The number of the resident that has not been waited for, 0 if there is none; in memory that the nursery shares with
/// its supervisor, who knows it so even if the nursery was killed before it could say it.
#[derive(Debug)]
pub(crate) struct Number(NonNull<AtomicI32>);

// SAFETY: what is pointed to is an atomic in memory of its own, which lives as long as this.
unsafe impl Send for Number {}
// SAFETY: as above.
unsafe impl Sync for Number {}

impl Number {
    pub(crate) fn new() -> nix::Result<Self> {
        // SAFETY: new memory, at no given place, which nobody else has.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<AtomicI32>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(nix::Error::last());
        }
        NonNull::new(at.cast()).map(Self).ok_or(nix::Error::ENOMEM)
    }

    pub(crate) fn get(&self) -> i32 {
        self.at().load(Ordering::SeqCst)
    }

    fn at(&self) -> &AtomicI32 {
        // SAFETY: the memory was mapped by `new`, is zeroed, aligned to a page, and lives as long as this.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and used by nobody any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<AtomicI32>()) };
    }
}

/// The nursery's descriptors.
#[derive(Clone, Copy)]
pub(crate) struct Own {
    /// By which it is asked, and answers.
    pub(crate) socket: RawFd,
    /// A pipe that comes to its end with the supervisor, or when that gives the nursery up.
    pub(crate) ends: RawFd,
}

/// Everything that the nursery needs, made before the clone.
pub(crate) struct Nursing<'a> {
    init: &'a Init,
    /// Those of its namespaces that the nursery is in itself.
    common: u64,
    /// The descriptors that are kept, besides its own.
    keep: Vec<RawFd>,
    own: Own,
    /// The supervisor's ends of them, which are not for us.
    close: [RawFd; 2],
    number: &'a Number,
    /// The residents' stack: there is one at a time. Aligned as the calling convention wants it (16 bytes).
    stack: Vec<u128>,
}

impl<'a> Nursing<'a> {
    pub(crate) fn new(init: &'a Init, common: u64, own: Own, close: [RawFd; 2], number: &'a Number) -> Self {
        let named = init.steps.iter().flat_map(Step::descriptors);
        Self {
            init,
            common,
            keep: [0, 1, 2].into_iter().chain(named).collect(),
            own,
            close,
            number,
            stack: vec![0; STACK / size_of::<u128>()],
        }
    }
}

/// What a resident is given.
struct Birth<'a> {
    init: &'a Init,
    own: Own,
    /// Its number as its parent sees it, written by the kernel before its first instruction.
    number: &'a Number,
}

/// Clones the calling thread's process into a nursery, which ends with that thread.
pub(crate) fn nurse(nursing: &mut Nursing<'_>) -> nix::Result<i32> {
    // SAFETY: as in `start`: a fork, whose child calls nothing but raw system calls on memory made before.
    match unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(libc::SIGCHLD), 0, 0, 0, 0) } {
        -1 => Err(nix::Error::last()),
        0 => serve(nursing),
        pid => Ok(pid as i32),
    }
}

/// The nursery itself.
fn serve(nursing: &mut Nursing<'_>) -> ! {
    restore_signals();
    let Own { socket, ends } = nursing.own;
    // SAFETY: plain numbers, and descriptors that are open in this copy of the table. Undumpable, as its supervisor
    // may be, nobody could trace or enter what it makes (prctl(2)).
    let dies = unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        for theirs in nursing.close {
            libc::close(theirs);
        }
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0)
    };
    let common = nursing.common;
    let mut trouble = (dies != 0).then(|| Record::failed(Record::FORK, 0, errno()));
    if let Err(errno) = close_except(&nursing.keep, &[socket, ends]) {
        trouble.get_or_insert(Record::failed(Record::CLOSE, 0, errno));
    }
    // SAFETY: plain numbers.
    if common != 0 && unsafe { libc::unshare(common as c_int) } != 0 {
        trouble.get_or_insert(Record::failed(Record::UNSHARE, 0, errno()));
    }
    let mut birth = Birth {
        init: nursing.init,
        own: nursing.own,
        number: nursing.number,
    };
    loop {
        let mut word = 0u8;
        // SAFETY: one byte is read into a local.
        let read = unsafe { libc::read(socket, (&raw mut word).cast(), 1) };
        match read {
            1 => {}
            -1 if errno() == libc::EINTR => continue,
            _ => exit(), // the supervisor has gone, or wants no more
        }
        // The last one is only waited for now, so that its number was nobody else's. There is one at a time, as there
        // is one stack: if it is still there, it ends now.
        let last = nursing.number.get();
        if last > 0 {
            // SAFETY: plain numbers; it is our child, and has not been waited for. No status is asked for.
            unsafe {
                libc::kill(last, libc::SIGKILL);
                while libc::waitpid(last, ptr::null_mut(), libc::__WALL) == -1 && errno() == libc::EINTR {}
            }
        }
        nursing.number.at().store(0, Ordering::SeqCst);
        if let Some(trouble) = trouble {
            report(socket, trouble);
            exit();
        }
        let namespaces = birth.init.namespaces & !common;
        if let Err(errno) = clone_resident(&mut birth, &mut nursing.stack, namespaces) {
            report(socket, Record::failed(Record::FORK, 0, errno));
        }
    }
}

/// Makes a resident.
fn clone_resident(birth: &mut Birth<'_>, stack: &mut [u128], namespaces: u64) -> Result<(), i32> {
    let flags = namespaces as c_int | libc::CLONE_VM | libc::CLONE_PARENT_SETTID | libc::SIGCHLD;
    let number: *mut c_int = birth.number.0.as_ptr().cast();
    let birth: *mut Birth<'_> = birth;
    // SAFETY: the stack is ours, large enough and used by nobody else: the resident before has ended. What is
    // pointed to outlives the resident, which ends with this process. The two share memory; this one does nothing
    // but wait for a word while the other makes its calls, so that they don't meet in errno.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.len());
        libc::clone(
            resident,
            top.cast::<c_void>(),
            flags,
            birth.cast::<c_void>(),
            number,
        )
    };
    if pid == -1 { Err(errno()) } else { Ok(()) }
}

/// A resident: its steps, the word that it is ready, and then nothing until it is killed or its supervisor has gone.
/// It does not go with the nursery.
extern "C" fn resident(birth: *mut c_void) -> c_int {
    // SAFETY: it is the Birth that `clone_resident` passed, in memory that this process has, too: it is there as long as
    // this, whatever becomes of the nursery.
    let birth = unsafe { &*birth.cast::<Birth<'_>>() };
    let Own { socket, ends } = birth.own;
    // SAFETY: SIG_IGN is always valid; the kernel then reaps whatever this process inherits (wait(2)). As subreaper it
    // gets what others abandon; poll is given one structure, a local.
    unsafe {
        if libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 {
            report(socket, Record::failed(Record::SUBREAPER, 0, errno()));
            exit();
        }
        run_all(socket, &birth.init.steps, Record::INIT_STEP);
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        report(
            socket,
            Record::failed(Record::READY, birth.number.get() as usize, 0),
        );
        libc::close(socket);
        let mut end = libc::pollfd {
            fd: ends,
            events: 0,
            revents: 0,
        };
        // Its end is told whether it is asked for or not (poll(2), POLLHUP); a tracer's stops are no end of it.
        while libc::poll(&raw mut end, 1, -1) != 1 {}
        exit()
    }
}
