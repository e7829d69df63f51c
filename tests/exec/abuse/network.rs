//! Programs that look for company, under a policy that lets every call pass. What the shipped policy makes
//! of sockets is among the [`calls`](super::calls).

use super::{Case, Says, everywhere};

pub const CASES: &[Case] = &[
    Case {
        name: "a service of the host, over TCP",
        flags: &[],
        code: "
import socket
def reach(address): socket.create_connection(address, 2).close()
print(attempt(reach, ('127.0.0.1', int(os.environ['PORT']))) == 'done')
",
        ends: everywhere!(Says("False")),
    },
    Case {
        name: "a service of the host, over UDP",
        flags: &[],
        code: "
import socket
def reach(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', int(os.environ['PORT'])))
print(attempt(reach) == 'done')
",
        ends: everywhere!(Says("False")),
    },
    Case {
        name: "the metadata address",
        flags: &[],
        code: "
import socket
def reach(): socket.create_connection(('169.254.169.254', 80), 2).close()
print(attempt(reach) == 'done')
",
        ends: everywhere!(Says("False")),
    },
    Case {
        name: "an abstract socket of the host",
        flags: &[],
        code: "
import socket
def reach(): socket.socket(socket.AF_UNIX).connect('\\0' + os.environ['NAME'])
print(attempt(reach) == 'done')
",
        ends: everywhere!(Says("False")),
    },
    Case {
        name: "what the network looks like",
        flags: &[],
        code: "
import socket
def look(): return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
names = [name for _, name in socket.if_nameindex()] if attempt(look) == 'done' else []
print([name for name in names if name != 'lo'])
",
        ends: everywhere!(Says("[]")),
    },
    Case {
        name: "raw packets",
        flags: &[],
        code: "
import socket
def packets(): socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)
def raw(): socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
print(attempt(packets) == 'done', attempt(raw) == 'done')
",
        ends: everywhere!(Says("False False")),
    },
];
