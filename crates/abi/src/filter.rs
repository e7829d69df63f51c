//! A classic-BPF program over `struct seccomp_data`: what a policy compiles to and the kernel loads.

/// The most instructions that the kernel takes in one program (`BPF_MAXINSNS`, linux/bpf_common.h).
pub const BPF_MAXINSNS: usize = 4096;

/// One instruction, as in `struct sock_filter` (linux/filter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instruction {
    /// Operation code.
    pub code: u16,
    /// How many instructions to skip if a comparison holds.
    pub jt: u8,
    /// How many instructions to skip if it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// A program. It need not be valid: the kernel judges that when it is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Filter(pub Vec<Instruction>);

impl Filter {
    /// The instructions as the kernel reads them: 8 bytes each, in this machine's byte order
    /// (little-endian on both architectures).
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|i| {
                let [c0, c1] = i.code.to_le_bytes();
                let [k0, k1, k2, k3] = i.k.to_le_bytes();
                [c0, c1, i.jt, i.jf, k0, k1, k2, k3]
            })
            .collect()
    }

    /// A program from its bytes; `None` if they are not a whole number of instructions.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() % 8 != 0 {
            return None;
        }
        let instruction = |b: &[u8]| Instruction {
            code: u16::from_le_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        };
        Some(Self(bytes.chunks_exact(8).map(instruction).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_instructions_lead_to_each_other() {
        let program = Filter(vec![Instruction {
            code: 0x20,
            jt: 1,
            jf: 2,
            k: 0x7fff_0000,
        }]);
        assert_eq!(program.to_bytes(), [0x20, 0, 1, 2, 0, 0, 0xff, 0x7f]);
        assert_eq!(Filter::from_bytes(&program.to_bytes()), Some(program));
        assert_eq!(Filter::from_bytes(&[1, 2, 3]), None);
    }
}
