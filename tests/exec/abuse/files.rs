//! Programs that want files which are not theirs, or to leave something in those that are.

use super::{As, Case, Says, everywhere};

pub const CASES: &[Case] = &[
    Case {
        name: "the libraries, by writing, linking, changing their mode and owner",
        flags: &[],
        code: "
import json
at = json.__file__
def write(): os.close(os.open(at, os.O_WRONLY))
def linked():
    os.link(at, 'link')
    os.close(os.open('link', os.O_WRONLY))
done = [attempt(do) == 'done' for do in [write, linked, lambda: os.chmod(at, 0o777), lambda: os.chown(at, os.getuid(), -1),
    lambda: os.unlink(at), lambda: os.rename(at, 'x'), lambda: os.utime(at), lambda: os.truncate(at, 0), lambda: os.setxattr(at, 'user.x', b'x')]]
print(any(done))
",
        ends: everywhere!(Says("False")),
    },
    Case {
        name: "the root, by making things in it",
        flags: &[],
        code: "
print([at for at in ['/', '/usr', '/etc', '/dev', '/usr/lib'] if attempt(os.mkdir, at + '/made') == 'done'])
",
        ends: everywhere!(Says("[]")),
    },
    Case {
        name: "what links and dots lead to",
        flags: &[],
        code: "
os.symlink('/etc/debian_version', 'link')
os.symlink('../../../../../../../../proc/1/root/etc/debian_version', 'up')
def read(at): open(at).close()
print([attempt(read, at) for at in ['link', 'up', '../' * 50 + 'etc/debian_version']])
",
        ends: [
            Ok(Says("['ENOENT', 'ENOENT', 'ENOENT']")),
            Ok(Says("['ENOENT', 'ENOENT', 'ENOENT']")),
            Ok(Says("['ENOENT', 'ENOENT', 'ENOENT']")),
            Ok(Says("['EACCES', 'EACCES', 'EACCES']")),
        ],
    },
    Case {
        name: "a way out of the root by a second one",
        flags: &[],
        code: "
os.mkdir('inner')
here = os.open('/', os.O_PATH)
print(attempt(os.chroot, 'inner'), attempt(os.fchdir, here))
os.chdir('../' * 50)
print(attempt(open, 'etc/debian_version') == 'done')
",
        ends: everywhere!(Says("EPERM done\nFalse")),
    },
    Case {
        name: "devices",
        flags: &[],
        code: "
import stat
made = [attempt(os.mknod, 'device', kind | 0o600, os.makedev(*number)) for kind, number in [(stat.S_IFBLK, (254, 0)), (stat.S_IFCHR, (1, 1))]]
others = ['mem', 'kmem', 'port', 'kmsg', 'vda', 'sda', 'nvme0n1', 'loop0', 'loop-control', 'fuse', 'kvm', 'net/tun', 'ptmx', 'tty', 'console', 'rtc0', 'vsock', 'userfaultfd']
print('done' in made, [name for name in others if attempt(os.open, '/dev/' + name, os.O_RDONLY | os.O_NONBLOCK) == 'done'])
",
        ends: everywhere!(Says("False []")),
    },
    Case {
        name: "another user, by a program that becomes its owner",
        flags: &[],
        code: "
import shutil
found = shutil.which('python3') or sys.executable
shutil.copyfile(found, 'python')
attempt(os.chmod, 'python', 0o6755)
child = os.fork()
if child == 0:
    try: os.execv('./python', ['python', '-I', '-S', '-c', 'import os; os._exit(0 if os.getuid() == os.geteuid() else 9)'])
    except OSError: os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), os.geteuid() == os.getuid() != 0, 'done' in [attempt(os.setuid, 0), attempt(os.setgid, 0), attempt(os.setgroups, [0])])
",
        ends: everywhere!(Says("0 True False")),
    },
    Case {
        name: "mounts",
        flags: &[],
        code: "
made = [libc.mount(b'x', b'/tmp', kind, 0, None) for kind in (b'tmpfs', b'proc', b'sysfs', b'cgroup2')]
print(made, libc.mount(b'/', b'/tmp', None, 4096, None), libc.umount2(b'/tmp', 2))
",
        ends: everywhere!(Says("[-1, -1, -1, -1] -1 -1")),
    },
    Case {
        name: "names, depths and modes that are hard to remove",
        flags: &[],
        code: "
for name in ['-rf', '*', 'a\\nb', ' ', '\\x1b[2J', 'x' * 255]: os.mkdir(name)
with open(b'\\xff\\xfe', 'w') as file: file.write('x')
for _ in range(300):
    os.mkdir('deep')
    os.chdir('deep')
attempt(os.chmod, '..', 0)
os.mkfifo('fifo')
os.symlink('/', 'root')
attempt(os.chmod, TMP + '/-rf', 0)
print('made')
",
        ends: everywhere!(Says("made")),
    },
    Case {
        name: "locks on what is shared",
        flags: &[],
        code: "
import fcntl
held = os.open(os.__file__, os.O_RDONLY)
fcntl.flock(held, fcntl.LOCK_EX)
os._exit(0) if os.fork() else time.sleep(600)
",
        ends: everywhere!(As("exited", 0)),
    },
    Case {
        name: "the host's secrets",
        flags: &[],
        code: "
wanted = ['/etc/shadow', '/etc/machine-id', '/etc/ssh', '/etc/debian_version', '/root', '/home', '/var/log', '/var/lib', '/sys/kernel', '/boot', '/run', '/old', '/new']
def look(at): os.close(os.open(at, os.O_RDONLY))
print([at for at in wanted if attempt(look, at) == 'done'])
",
        ends: everywhere!(Says("[]")),
    },
    Case {
        name: "/proc of others, and its own",
        flags: &[],
        code: "
of = [f'/proc/{pid}/{what}' for pid in (1, os.getppid(), os.getpid(), 'self') for what in ('environ', 'mem', 'maps', 'root', 'fd')]
def look(at): os.close(os.open(at, os.O_RDONLY))
print([at for at in of + ['/proc', '/proc/kcore', '/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern'] if attempt(look, at) == 'done' and at != '/proc'])
",
        ends: everywhere!(Says("[]")),
    },
    Case {
        name: "capabilities from a file",
        flags: &[],
        code: "
open('file', 'w').close()
print(attempt(os.setxattr, 'file', 'security.capability', bytes.fromhex('0100000202000000000000000000000000000000')) == 'done')
",
        ends: everywhere!(Says("False")),
    },
    Case {
        name: "the directory above its own",
        flags: &[],
        code: "
made = [attempt(os.mkdir, '../beside'), attempt(os.rename, '.', '../moved'), attempt(os.rmdir, TMP), attempt(os.rename, TMP, TMP + 'x'), attempt(os.symlink, '/', TMP + 'y')]
print('done' in made)
",
        ends: everywhere!(Says("False")),
    },
];
