//! Programs that want files which are not theirs, or to leave something in those that are.

use super::{As, Case, Says, everywhere, hold};

const CASES: &[Case] = &[
    Case {
        name: "the libraries, by writing, linking, changing their mode and owner",
        flags: &[],
        code: "
import json
at = json.__file__
def write(): os.close(os.open(at, os.O_WRONLY))
def linked():
    os.link(at, '/tmp/link')
    os.close(os.open('/tmp/link', os.O_WRONLY))
done = [attempt(do) == 'done' for do in [write, linked, lambda: os.chmod(at, 0o777), lambda: os.chown(at, os.getuid(), -1),
    lambda: os.unlink(at), lambda: os.rename(at, '/tmp/x'), lambda: os.utime(at), lambda: os.truncate(at, 0), lambda: os.setxattr(at, 'user.x', b'x')]]
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
os.symlink('/etc/shadow', '/tmp/link')
os.symlink('../../../../../../../../proc/1/root/etc/shadow', '/tmp/up')
def read(at): open(at).close()
print([attempt(read, at) for at in ['/tmp/link', '/tmp/up', '/tmp/' + '../' * 50 + 'etc/shadow']])
",
        ends: everywhere!(Says("['ENOENT', 'ENOENT', 'ENOENT']")),
    },
    Case {
        name: "a way out of the root by a second one",
        flags: &[],
        code: "
os.mkdir('/tmp/inner')
here = os.open('/', os.O_RDONLY)
print(attempt(os.chroot, '/tmp/inner'), attempt(os.fchdir, here))
os.chdir('../' * 50)
print(os.path.lexists('etc/shadow'))
",
        ends: everywhere!(Says("EPERM done\nFalse")),
    },
    Case {
        name: "devices",
        flags: &[],
        code: "
import stat
made = [attempt(os.mknod, '/tmp/device', kind | 0o600, os.makedev(*number)) for kind, number in [(stat.S_IFBLK, (254, 0)), (stat.S_IFCHR, (1, 1))]]
print('done' in made, [name for name in os.listdir('/dev') if name not in ('null', 'zero', 'full', 'random', 'urandom', 'shm', 'fd', 'stdin', 'stdout', 'stderr')])
",
        ends: everywhere!(Says("False []")),
    },
    Case {
        name: "another user, by a program that becomes its owner",
        flags: &[],
        code: "
import shutil
found = shutil.which('python3') or sys.executable
shutil.copy(found, '/tmp/python')
attempt(os.chmod, '/tmp/python', 0o6755)
child = os.fork()
if child == 0:
    try: os.execv('/tmp/python', ['python', '-I', '-S', '-c', 'import os; os._exit(0 if os.getuid() == os.geteuid() else 9)'])
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
os.chdir('/tmp')
for name in ['-rf', '*', 'a\\nb', ' ', '\\x1b[2J', 'x' * 255]: os.mkdir(name)
with open(b'\\xff\\xfe', 'w') as file: file.write('x')
for _ in range(300):
    os.mkdir('deep')
    os.chdir('deep')
os.chmod('..', 0)
os.mkfifo('/tmp/fifo')
os.symlink('/', '/tmp/root')
os.chmod('/tmp/-rf', 0)
print('made')
",
        ends: everywhere!(Says("made")),
    },
    Case {
        name: "locks on what is shared",
        flags: &[],
        code: "
import fcntl
held = os.open('/', os.O_RDONLY)
fcntl.flock(held, fcntl.LOCK_EX)
os._exit(0) if os.fork() else time.sleep(600)
",
        ends: everywhere!(As("exited", 0)),
    },
];

#[test]
fn what_is_not_theirs_stays_as_it_is() {
    hold(CASES, true);
}
