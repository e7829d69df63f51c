//! The compiled program: raw, and as an array for C.

use callgate_abi::Arch;

use super::{EmitError, text};
use crate::{Policy, compile, disassemble};

/// The program as bytes, as `bwrap --seccomp FD` reads it: 8 per instruction, little-endian.
///
/// # Errors
/// [`EmitError::Compile`] if the policy has no filter that the kernel would take.
pub fn bpf(policy: &Policy, arch: Arch) -> Result<Vec<u8>, EmitError> {
    Ok(compile(policy, arch)?.link()?.to_bytes())
}

/// The program as C: an array of `struct sock_filter` (linux/filter.h) with what each instruction does, and
/// the `struct sock_fprog` that seccomp(2) and prctl(2) take.
///
/// # Errors
/// [`EmitError::Compile`] if the policy has no filter that the kernel would take.
pub fn c(policy: &Policy, arch: Arch, name: &str) -> Result<String, EmitError> {
    let filter = compile(policy, arch)?.link()?;
    let mut out = text::header("//", &format!("seccomp filter, {arch}"), policy, name, &[]);
    out.push_str(
        "// Load it after prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0): \
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &callgate_program)\n\
         #include <linux/filter.h>\n\n\
         static const struct sock_filter callgate_filter[] = {\n",
    );
    for (instruction, line) in filter.0.iter().zip(disassemble(&filter, arch)) {
        out.push_str(&format!(
            "    {{0x{:02x}, {}, {}, 0x{:08x}}}, // {}: {}\n",
            instruction.code, instruction.jt, instruction.jf, instruction.k, line.at, line.text
        ));
    }
    out.push_str(&format!(
        "}};\n\nstatic const struct sock_fprog callgate_program = {{\n    {},\n    (struct sock_filter *)callgate_filter,\n}};\n",
        filter.0.len()
    ));
    Ok(out)
}
