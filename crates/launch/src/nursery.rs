//! Inits that start no command, made one after another: places for processes that come from elsewhere.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::launch::{Init, LaunchError};
use crate::report::{Failure, Record};
use crate::sys;

/// A small process that makes residents, all by the same [`Init`]. Dropping it ends it, and those residents that
/// die with their parent.
///
/// It is there because a fork of the supervisor is dear: all of its page tables are copied, and each of its threads
/// pays for it by page faults. A resident shares the nursery's memory, and makes nothing but system calls.
#[derive(Debug)]
pub struct Nursery {
    /// Given up first: without it the process ends.
    socket: Option<OwnedFd>,
    /// The process's parent, which waits for it. Not the caller: a tracer waits for all of its children.
    keeper: Option<JoinHandle<()>>,
    init: Init,
}

impl Nursery {
    /// Starts the process. It is in the network namespace that the residents are to have, if they are to have one of
    /// their own: nothing of a run is left in it that the next could meet (a network namespace that nobody may
    /// administer has sockets, and sockets end with their processes), and to make one takes longer than all others
    /// together. All other namespaces each resident has for itself.
    ///
    /// # Errors
    /// [`LaunchError`] if the process can't be made. A failed step of its own is told by [`Nursery::bear`].
    pub fn start(init: Init) -> Result<Self, LaunchError> {
        let no_socket = |source| LaunchError::Socket { source };
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(no_socket)?;
        let namespaces = init.namespaces;
        let plan = init.clone();
        let close = ours.as_raw_fd();
        let (tell, told) = mpsc::channel();
        let keep = move || {
            let started = sys::nurse(&mut sys::Nursing::new(&plan, theirs.as_raw_fd(), close));
            drop(theirs);
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
            keeper: Some(keeper),
            init,
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
    /// If the nursery has ended.
    pub fn bear(&mut self) -> io::Result<Result<Pid, Failure>> {
        let ended = || io::Error::other("the nursery has ended");
        let socket = self.socket.as_ref().ok_or_else(ended)?.as_raw_fd();
        send(socket, &[1], MsgFlags::MSG_NOSIGNAL)?;
        let mut bytes = [0; Record::SIZE];
        let read = loop {
            match recv(socket, &mut bytes, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                read => break read?,
            }
        };
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
}

impl Drop for Nursery {
    fn drop(&mut self) {
        drop(self.socket.take());
        if let Some(keeper) = self.keeper.take() {
            // A panic there has been told of by its message.
            let _ = keeper.join();
        }
    }
}
