"""OCI seccomp JSON of one architecture on stdin -> libseccomp's BPF on stdout; 77 without the bindings.

A number as the argument is libseccomp's level of optimisation: 2 is a binary tree over the numbers.
"""
import json, sys
try:
    import seccomp as s
except ImportError:
    sys.exit(77)
action = {"SCMP_ACT_ALLOW": s.ALLOW, "SCMP_ACT_KILL_PROCESS": s.KILL_PROCESS, "SCMP_ACT_LOG": s.LOG, "SCMP_ACT_TRAP": s.TRAP, "SCMP_ACT_KILL_THREAD": s.KILL}
op = {"SCMP_CMP_" + n: getattr(s, n) for n in ("EQ", "NE", "LT", "LE", "GE", "GT", "MASKED_EQ")}
def act(name, errno):
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        return getattr(s, name[9:])(1 if errno is None else errno)
    return action[name]
def arg(a):
    both = (a["value"], a["valueTwo"]) if a["op"] == "SCMP_CMP_MASKED_EQ" else (a["value"],)
    return s.Arg(a["index"], op[a["op"]], *both)
oci = json.load(sys.stdin)
f = s.SyscallFilter(act(oci["defaultAction"], oci.get("defaultErrnoRet")))
arch = {"SCMP_ARCH_X86_64": s.Arch.X86_64, "SCMP_ARCH_AARCH64": s.Arch.AARCH64}[oci["architectures"][0]]
if not f.exist_arch(arch):
    f.add_arch(arch)
    f.remove_arch(s.Arch())
f.set_attr(s.Attr.ACT_BADARCH, s.KILL_PROCESS)
if sys.argv[1:]:
    f.set_attr(s.Attr.CTL_OPTIMIZE, int(sys.argv[1]))
for rule in oci["syscalls"]:
    for name in rule["names"]:
        f.add_rule(act(rule["action"], rule.get("errnoRet")), name, *map(arg, rule.get("args", [])))
f.export_bpf(sys.stdout)
