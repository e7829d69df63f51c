//! Words with descriptors, over a local socket.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, setsockopt, socketpair,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::TimeVal;

/// A pair of sockets that keep messages apart (`SOCK_SEQPACKET`, unix(7)): ours and theirs.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

/// Sends one byte and what follows it, as one message with these descriptors.
pub(super) fn send(to: &OwnedFd, word: u8, more: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let with = [ControlMessage::ScmRights(&raw)];
    let with = if raw.is_empty() { &[][..] } else { &with[..] };
    // Without SIGPIPE: whoever has gone away is told of by the error.
    sendmsg::<()>(
        to.as_raw_fd(),
        &[IoSlice::new(&[word]), IoSlice::new(more)],
        with,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// Receives numbers, as many as there are in one message; none if the other side has gone away.
pub(super) fn numbers(from: &OwnedFd) -> io::Result<Vec<i32>> {
    let mut bytes = [0; 256];
    let read = recv(from.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
    let four = |chunk: &[u8]| chunk.try_into().map(i32::from_ne_bytes).unwrap_or_default();
    Ok(bytes
        .get(..read)
        .unwrap_or_default()
        .chunks_exact(4)
        .map(four)
        .collect())
}

/// Has whoever waits on it wait no longer than this.
pub(super) fn patience(socket: &OwnedFd, time: Duration) -> io::Result<()> {
    let time = TimeVal::new(time.as_secs() as i64, 0);
    Ok(setsockopt(&socket.as_fd(), ReceiveTimeout, &time)?)
}
