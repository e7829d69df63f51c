//! Keys of sockets: domain, type and protocol; level and name of an option.

use super::names::{constant, flags};
use super::tables::{
    FAMILY, INET_PROTOCOL, IP_OPTION, IPV6_OPTION, NETLINK_PROTOCOL, SOCKET_LEVEL, SOCKET_OPTION, TCP_OPTION,
    Table,
};
use super::{ArgKey, word};

// linux/net.h
const SOCK_TYPE_MASK: u64 = 0xf;
const TYPES: Table = &[
    ("SOCK_STREAM", 1),
    ("SOCK_DGRAM", 2),
    ("SOCK_RAW", 3),
    ("SOCK_RDM", 4),
    ("SOCK_SEQPACKET", 5),
    ("SOCK_DCCP", 6),
    ("SOCK_PACKET", 10),
];
const TYPE_FLAGS: Table = &[("SOCK_NONBLOCK", 0o4000), ("SOCK_CLOEXEC", 0o2_000_000)];

/// The names that are no table of headers alone.
pub(super) const TABLES: &[Table] = &[TYPES, TYPE_FLAGS];

const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;

pub(super) fn socket(args: &[u64; 6]) -> Vec<ArgKey> {
    let (domain, kind, protocol) = (word(args, 0), word(args, 1), word(args, 2));
    let base = constant(TYPES, kind & SOCK_TYPE_MASK);
    let protocols: Table = match domain {
        AF_INET | AF_INET6 => INET_PROTOCOL,
        AF_NETLINK => NETLINK_PROTOCOL,
        _ => &[],
    };
    vec![
        ArgKey::new(0, domain, constant(FAMILY, domain)),
        ArgKey::new(1, kind, flags(Some(&base), &[TYPE_FLAGS], kind & !SOCK_TYPE_MASK)),
        ArgKey::new(2, protocol, constant(protocols, protocol)),
    ]
}

const SOL_IP: u64 = 0;
const SOL_SOCKET: u64 = 1;
const SOL_TCP: u64 = 6;
const SOL_IPV6: u64 = 41;

pub(super) fn option(args: &[u64; 6]) -> Vec<ArgKey> {
    let (level, name) = (word(args, 1), word(args, 2));
    let names: Table = match level {
        SOL_SOCKET => SOCKET_OPTION,
        SOL_TCP => TCP_OPTION,
        SOL_IP => IP_OPTION,
        SOL_IPV6 => IPV6_OPTION,
        _ => &[],
    };
    vec![
        ArgKey::new(1, level, constant(SOCKET_LEVEL, level)),
        ArgKey::new(2, name, constant(names, name)),
    ]
}
