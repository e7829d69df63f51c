//! A condition on one argument of a call, as OCI's `args` writes it.

use std::fmt;

/// How an argument is compared. All comparisons are unsigned and over all 64 bits, as in libseccomp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CompareOp {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less than.
    Lt,
    /// Less than or equal.
    Le,
    /// Greater than or equal.
    Ge,
    /// Greater than.
    Gt,
    /// Equal in the bits of this mask (OCI writes the mask as `value` and the datum as `valueTwo`).
    MaskedEq(u64),
}

/// One argument compared with one value. A value of this type is always valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArgCondition {
    index: u8,
    op: CompareOp,
    value: u64,
}

impl ArgCondition {
    /// How many arguments a call has at the most.
    pub const ARGS: u8 = 6;

    /// A condition on argument `index` (0 to 5).
    ///
    /// # Errors
    /// [`InvalidCondition`] if there is no such argument, or if it could never hold: a datum with bits
    /// outside its mask, less than 0, greater than 2^64-1.
    pub const fn new(index: u8, op: CompareOp, value: u64) -> Result<Self, InvalidCondition> {
        if index >= Self::ARGS {
            return Err(InvalidCondition::NoSuchArgument(index));
        }
        let never = match op {
            CompareOp::MaskedEq(mask) => value & !mask != 0,
            CompareOp::Lt => value == 0,
            CompareOp::Gt => value == u64::MAX,
            _ => false,
        };
        if never {
            return Err(InvalidCondition::NeverHolds);
        }
        Ok(Self { index, op, value })
    }

    /// Which argument, 0 to 5.
    pub const fn index(self) -> u8 {
        self.index
    }

    /// How it is compared.
    pub const fn op(self) -> CompareOp {
        self.op
    }

    /// What it is compared with (for [`CompareOp::MaskedEq`], the datum).
    pub const fn value(self) -> u64 {
        self.value
    }

    /// Whether the condition holds for these arguments.
    pub const fn holds(self, args: &[u64; 6]) -> bool {
        let arg = args[self.index as usize];
        match self.op {
            CompareOp::Eq => arg == self.value,
            CompareOp::Ne => arg != self.value,
            CompareOp::Lt => arg < self.value,
            CompareOp::Le => arg <= self.value,
            CompareOp::Ge => arg >= self.value,
            CompareOp::Gt => arg > self.value,
            CompareOp::MaskedEq(mask) => arg & mask == self.value,
        }
    }
}

impl fmt::Display for ArgCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, op, value } = self;
        match op {
            CompareOp::Eq => write!(f, "arg{index} == {value:#x}"),
            CompareOp::Ne => write!(f, "arg{index} != {value:#x}"),
            CompareOp::Lt => write!(f, "arg{index} < {value:#x}"),
            CompareOp::Le => write!(f, "arg{index} <= {value:#x}"),
            CompareOp::Ge => write!(f, "arg{index} >= {value:#x}"),
            CompareOp::Gt => write!(f, "arg{index} > {value:#x}"),
            CompareOp::MaskedEq(mask) => write!(f, "arg{index} & {mask:#x} == {value:#x}"),
        }
    }
}

/// Why a condition can't be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCondition {
    /// Calls have arguments 0 to 5.
    #[error("a system call has arguments 0 to 5, not {0}")]
    NoSuchArgument(u8),
    /// No argument can satisfy it.
    #[error(
        "this condition can never hold (a datum with bits outside its mask, or a limit out of reach): correct its \
         value, or take it out with its rule"
    )]
    NeverHolds,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_cannot_hold_cannot_be_built() {
        assert_eq!(
            ArgCondition::new(6, CompareOp::Eq, 0),
            Err(InvalidCondition::NoSuchArgument(6))
        );
        assert!(ArgCondition::new(0, CompareOp::MaskedEq(0xf), 0x10).is_err());
        assert!(ArgCondition::new(0, CompareOp::Lt, 0).is_err());
        assert!(ArgCondition::new(0, CompareOp::Gt, u64::MAX).is_err());
    }

    #[test]
    fn comparisons_are_unsigned_and_over_64_bits() {
        let over = ArgCondition::new(1, CompareOp::Gt, 0xffff_ffff).unwrap();
        assert!(over.holds(&[0, 0x1_0000_0000, 0, 0, 0, 0]));
        assert!(over.holds(&[0, u64::MAX, 0, 0, 0, 0]));
        assert!(!over.holds(&[0, 1, 0, 0, 0, 0]));
        let masked = ArgCondition::new(0, CompareOp::MaskedEq(0x7e02_0000), 0).unwrap();
        assert!(masked.holds(&[0x3d0f00, 0, 0, 0, 0, 0]));
        assert!(!masked.holds(&[0x1000_0000, 0, 0, 0, 0, 0]));
    }
}
