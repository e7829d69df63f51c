//! Inits that start no command, made one after another: places for processes that come from elsewhere.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};

use crate::launch::{Init, LaunchError};
use crate::report::{Failure, Record};
use crate::sys;

/// How long a resident may take to end with its nursery.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long an answer is waited for until it is looked whether somebody is left who could give it, in milliseconds.
const LOOK: u8 = 20;

/// The network namespaces of residents that are to have one apart from the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Networks {
    /// The nursery's, one resident after another. Nothing of one is left in it that the next could meet (a network
    /// namespace that nobody may administer has sockets, and sockets end with their processes), and to make one takes
    /// longer than all other namespaces together.
    #[default]
    InTurn,
    /// A new one for each.
    Each,
}

/// A small process that makes residents, all by the same [`Init`]. Dropping it ends it and its resident, and so does the
/// end of the program. It is to be dropped when nobody traces its resident any more; where the caller is a subreaper
/// (prctl(2)) no zombie is left then.
///
/// A process that is killed takes nobody along but itself: a resident whose nursery is killed stays, for it is the place
/// of a run that has nothing to do with it.
///
/// It is there because a fork of the supervisor is dear: all of its page tables are copied, and each of its threads
/// pays for it by page faults. A resident shares the nursery's memory, and makes nothing but system calls.
#[derive(Debug)]
pub struct Nursery {
    /// Given up first: without it the process ends.
    socket: Option<OwnedFd>,
    /// The other end of what a resident waits for the end of. Nobody writes to it.
    life: Option<OwnedFd>,
    /// The process's parent, which waits for it. Not the caller: a tracer waits for all of its children.
    keeper: Option<JoinHandle<()>>,
    init: Init,
    /// Of the last one made, which the nursery has not waited for.
    number: Arc<sys::Number>,
}

impl Nursery {
    /// Starts the process. All namespaces each resident has for itself, but for that of the [network](Networks).
    ///
    /// # Errors
    /// [`LaunchError`] if the process can't be made. A failed step of its own is told by [`Nursery::bear`].
    pub fn start(init: Init, networks: Networks) -> Result<Self, LaunchError> {
        let no_socket = |source| LaunchError::Socket { source };
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(no_socket)?;
        let (ends, life) = pipe2(OFlag::O_CLOEXEC).map_err(no_socket)?;
        let namespaces = init.namespaces;
        let common = match networks {
            Networks::InTurn => namespaces & libc::CLONE_NEWNET as u64,
            Networks::Each => 0,
        };
        let plan = init.clone();
        let close = [ours.as_raw_fd(), life.as_raw_fd()];
        let number = Arc::new(sys::Number::new().map_err(no_socket)?);
        let shared = Arc::clone(&number);
        let (tell, told) = mpsc::channel();
        let keep = move || {
            let own = sys::Own {
                socket: theirs.as_raw_fd(),
                ends: ends.as_raw_fd(),
            };
            let started = sys::nurse(&mut sys::Nursing::new(&plan, common, own, close, &shared));
            drop((theirs, ends));
            let pid = started.as_ref().ok().copied();
            let _ = tell.send(started.map(drop));
            if let Some(pid) = pid {
                while waitpid(Pid::from_raw(pid), None) == Err(Errno::EINTR) {}
            }
        };
        let keeper = thread::Builder::new()
            .name("nursery".to_owned())
            .spawn(keep)
            .map_err(|error| no_socket(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EAGAIN))))?;
        let nursery = Self {
            socket: Some(ours),
            life: Some(life),
            keeper: Some(keeper),
            init,
            number,
        };
        match told.recv() {
            Ok(Ok(())) => Ok(nursery),
            Ok(Err(source)) => Err(LaunchError::Clone {
                namespaces,
                cgroup: false,
                source,
            }),
            Err(_) => Err(no_socket(Errno::EPIPE)),
        }
    }

    /// The next resident, whose steps are done; or the step that failed, and it has ended then. It is the caller's to
    /// trace and to kill. Its number stays its own until the next is asked for.
    ///
    /// # Errors
    /// If the nursery has ended, or the resident was killed before it was ready.
    pub fn bear(&mut self) -> io::Result<Result<Pid, Failure>> {
        let ended = || io::Error::other("the nursery has ended");
        let socket = self.socket.as_ref().ok_or_else(ended)?;
        let before = self.number.get();
        send(socket.as_raw_fd(), &[1], MsgFlags::MSG_NOSIGNAL)?;
        let mut bytes = [0; Record::SIZE];
        let read = self.hear(&mut bytes, before)?;
        if read != Record::SIZE {
            return Err(ended());
        }
        let record = Record::from_bytes(&bytes);
        match (record.kind, record.failure(&self.init.steps)) {
            (Record::READY, _) => Ok(Ok(Pid::from_raw(record.index as i32))),
            (_, Some(failure)) => Ok(Err(failure)),
            (_, None) => Err(ended()),
        }
    }

    /// What is answered; or an error if nobody is left who could. The nursery itself waits for the next word, whatever
    /// has become of the resident. `before` is the number of the resident before.
    fn hear(&self, bytes: &mut [u8], before: i32) -> io::Result<usize> {
        let socket = self.socket.as_ref().map(AsFd::as_fd).ok_or(Errno::EBADF)?;
        let mut lost = false;
        loop {
            let wait = if lost { PollTimeout::ZERO } else { LOOK.into() };
            match poll(&mut [PollFd::new(socket, PollFlags::POLLIN)], wait) {
                Err(Errno::EINTR) => {}
                // It may have answered just before it ended.
                Ok(0) if lost => return Err(io::Error::other("it was killed while it was made")),
                Ok(0) => lost = self.has_ended(before),
                heard => {
                    heard?;
                    match recv(socket.as_raw_fd(), bytes, MsgFlags::empty()) {
                        Err(Errno::EINTR) => {}
                        read => return Ok(read?),
                    }
                }
            }
        }
    }

    /// Whether there is another resident than before, and it has ended. Its number is its own until it is waited for
    /// (proc_pid_stat(5)).
    fn has_ended(&self, before: i32) -> bool {
        let number = self.number.get();
        if number == 0 || number == before {
            return false; // it is still to be made, and the nursery says if that fails
        }
        match std::fs::read_to_string(format!("/proc/{number}/stat")) {
            Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
            Err(_) => true,
        }
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        drop((self.socket.take(), self.life.take()));
        if let Some(keeper) = self.keeper.take() {
            // A panic there has been told of by its message.
            let _ = keeper.join();
        }
        // The nursery's child is the caller's now, if that is a subreaper (prctl(2)): nobody else waits for it.
        let number = self.number.get();
        if number > 0 {
            let (last, end) = (Pid::from_raw(number), Instant::now() + PATIENCE);
            let now = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
            while waitpid(last, Some(now)) == Ok(WaitStatus::StillAlive) && Instant::now() < end {
                // It may be on its way to where it waits for us.
                let _ = kill(last, Signal::SIGKILL);
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
