//! What one run leaves is not met by the next of the same bed, which has the network namespace that the other had.

use std::collections::BTreeSet;

use callgate_exec::{Networks, Template, Tier, TierChoice};
use callgate_testing::{available, root};

use crate::support::{printed, spec};

/// A name that nobody but these tests uses, and sockets that keep themselves alive after their process: each lies in
/// the queue of the other's peer.
const LEAVES: &str = "
import socket, array
def give(to, what):
    to.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [s.fileno() for s in what]))])
one, other = socket.socketpair()
named = socket.socket(socket.AF_UNIX)
named.bind('\\0callgate-left')
named.listen()
datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
datagrams.bind('\\0callgate-left-too')
give(one, [other, named, datagrams])
give(other, [one, named, datagrams])
print('left')
";

const LOOKS: &str = "
import socket, time
for name, kind in (('\\0callgate-left', socket.SOCK_STREAM), ('\\0callgate-left-too', socket.SOCK_DGRAM)):
    seen = socket.socket(socket.AF_UNIX, kind)
    try:
        seen.connect(name)
        print('met', name)
    except OSError as error:
        pass
    # The kernel collects such sockets after the end of who left them.
    for attempt in range(200):
        try:
            socket.socket(socket.AF_UNIX, kind).bind(name)
            break
        except OSError:
            time.sleep(.02)
    else:
        print('taken', name)
print('looked')
";

#[test]
fn sockets_that_a_run_leaves_to_themselves_are_not_met_by_the_next() {
    if !available("root", root()) {
        return;
    }
    let mut spec = spec(&[]);
    spec.beds = 1;
    let template = Template::start(spec).unwrap();
    for _ in 0..3 {
        assert_eq!(printed(&template, LEAVES), "left\n");
        assert_eq!(printed(&template, LOOKS), "looked\n");
    }
}

#[test]
fn nothing_of_the_network_is_up_in_any_run_of_a_bed() {
    if !available("root", root()) {
        return;
    }
    let mut spec = spec(&[]);
    spec.beds = 1;
    let template = Template::start(spec).unwrap();
    // What only who administers the namespace may do is refused, so that nobody can leave anything there.
    let code = "
import errno, fcntl, socket, struct
print([name for _, name in socket.if_nameindex()])
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
flags = struct.pack('16sH14x', b'lo', 0)
print(struct.unpack('16sH14x', fcntl.ioctl(control, 0x8913, flags))[1] & 1)
try:
    fcntl.ioctl(control, 0x8914, struct.pack('16sH14x', b'lo', 1))
    print('changed')
except OSError as error:
    print(errno.errorcode[error.errno])
try:
    socket.create_connection(('127.0.0.1', 1), 1)
except OSError as error:
    print(type(error).__name__)
";
    for _ in 0..2 {
        let said = printed(&template, code);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[..3], ["['lo']", "0", "EPERM"], "{said}");
        assert!(["OSError", "PermissionError"].contains(&lines[3]), "{said}");
    }
}

#[test]
fn a_run_has_a_network_namespace_of_its_own_if_it_is_asked_for() {
    if !available("root", root()) {
        return;
    }
    // SO_NETNS_COOKIE: no two namespaces have ever had the same (socket(7), Linux 5.14).
    let code =
        "import socket; print(socket.socket(socket.AF_UNIX).getsockopt(socket.SOL_SOCKET, 71, 8).hex())";
    for (networks, expected) in [(Networks::InTurn, 1), (Networks::Each, 4)] {
        let mut spec = spec(&[]);
        (spec.beds, spec.networks) = (1, networks);
        let template = Template::start(spec).unwrap();
        let cookies: BTreeSet<String> = (0..4).map(|_| printed(&template, code)).collect();
        assert_eq!(cookies.len(), expected, "{networks:?}: {cookies:?}");
        assert!(
            cookies.iter().all(|cookie| cookie.trim().len() == 16),
            "{cookies:?}"
        );
    }
}

#[test]
fn a_network_namespace_for_each_run_is_refused_where_there_is_none() {
    if !available("root", root()) {
        return;
    }
    let mut spec = spec(&[]);
    (spec.tier, spec.networks) = (TierChoice::Exactly(Tier::Container), Networks::Each);
    let refused = Template::start(spec).unwrap_err();
    assert!(refused.error.contains("needs tier full"), "{}", refused.error);
}
