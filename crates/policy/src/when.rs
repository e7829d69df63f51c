//! Conditions on arguments as people write them: `arg0=AF_UNIX,arg1=SOCK_STREAM`.

use std::fmt;

use callgate_abi::{ArgCondition, CompareOp, InvalidCondition, Syscall, argument_value, is_key, keys};

/// The half of an argument that the kernel reads of an `int`.
pub(crate) const LOW: u64 = 0xffff_ffff;

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// It does not have the shape of one.
    #[error(
        "{0:?} is no condition: expected argN=VALUE (or <=, <, >=, >, !=, or argN&MASK=VALUE), N from 0 to 5"
    )]
    Shape(String),
    /// The value is no number and no name.
    #[error("{word:?} in {condition:?} is no number and no name of the kernel's headers")]
    Value {
        /// The condition.
        condition: String,
        /// The word.
        word: String,
    },
    /// The value does not fit the argument.
    #[error("{condition:?}: the kernel reads 32 bits of this argument, and the value has more")]
    Wide {
        /// The condition.
        condition: String,
    },
    /// The comparison would let the upper half of the argument pass.
    #[error(
        "{condition:?}: the kernel reads 32 bits of this argument and filters compare 64, so that a value with \
         upper bits would pass: name what is allowed with = instead"
    )]
    Upper {
        /// The condition.
        condition: String,
    },
    /// It can never hold.
    #[error("{condition:?}: {source}")]
    Never {
        /// The condition.
        condition: String,
        /// Why.
        source: InvalidCondition,
    },
}

/// Longer operators first, as the short ones begin them.
const OPERATORS: [&str; 7] = ["<=", ">=", "!=", "==", "=", "<", ">"];

/// Conditions on the arguments of a call, of which all must hold, separated by commas.
///
/// `=` compares the lower 32 bits of an argument of which the kernel reads 32 (CVE-2019-10063), and all 64 of
/// any other.
///
/// # Errors
/// [`WhenError`] with the condition.
///
/// ```
/// use callgate_abi::{Arch, CompareOp};
///
/// let socket = Arch::X86_64.call("socket")?;
/// let conditions = callgate_policy::when(socket, "arg0=AF_INET6")?;
/// assert_eq!((conditions[0].op(), conditions[0].value()), (CompareOp::MaskedEq(0xffff_ffff), 10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn when(call: Syscall, text: &str) -> Result<Vec<ArgCondition>, WhenError> {
    text.split(',')
        .map(|condition| one(call, condition.trim()))
        .collect()
}

fn one(call: Syscall, condition: &str) -> Result<ArgCondition, WhenError> {
    let shape = || WhenError::Shape(condition.to_owned());
    let rest = condition.strip_prefix("arg").ok_or_else(shape)?;
    let index = rest
        .chars()
        .next()
        .and_then(|digit| digit.to_digit(6))
        .ok_or_else(shape)?;
    let index = u8::try_from(index).map_err(|_| shape())?;
    let value_of = |word: &str| {
        argument_value(call.abi(), word).ok_or_else(|| WhenError::Value {
            condition: condition.to_owned(),
            word: word.trim().to_owned(),
        })
    };
    let (mask, rest) = match rest[1..].trim_start().strip_prefix('&') {
        Some(rest) => {
            let (mask, value) = rest.split_once('=').ok_or_else(shape)?;
            (Some(value_of(mask)?), value.strip_prefix('=').unwrap_or(value))
        }
        None => (None, &rest[1..]),
    };
    let (op, value) = match mask {
        Some(mask) => (CompareOp::MaskedEq(mask), value_of(rest)?),
        None => compared(call, index, condition, rest.trim_start(), &value_of)?,
    };
    ArgCondition::new(index, op, value).map_err(|source| WhenError::Never {
        condition: condition.to_owned(),
        source,
    })
}

/// An operator and a value, with the width that the kernel reads.
fn compared(
    call: Syscall,
    index: u8,
    condition: &str,
    rest: &str,
    value_of: &dyn Fn(&str) -> Result<u64, WhenError>,
) -> Result<(CompareOp, u64), WhenError> {
    let operator = OPERATORS.into_iter().find(|operator| rest.starts_with(operator));
    let Some(operator) = operator else {
        return Err(WhenError::Shape(condition.to_owned()));
    };
    let value = value_of(&rest[operator.len()..])?;
    let condition = condition.to_owned();
    let half = is_key(call, index);
    if half && value > LOW {
        return Err(WhenError::Wide { condition });
    }
    let op = match operator {
        "=" | "==" if half => CompareOp::MaskedEq(LOW),
        "=" | "==" => CompareOp::Eq,
        "<=" => CompareOp::Le,
        "<" => CompareOp::Lt,
        _ if half => return Err(WhenError::Upper { condition }),
        ">=" => CompareOp::Ge,
        ">" => CompareOp::Gt,
        _ => CompareOp::Ne,
    };
    Ok((op, value))
}

/// Conditions in the words that [`when`] reads.
pub(crate) struct Words<'a>(pub Syscall, pub &'a [ArgCondition]);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(call, conditions) = self;
        let mut args = [0; 6];
        for condition in *conditions {
            args[usize::from(condition.index())] = condition.value();
        }
        for (place, condition) in conditions.iter().enumerate() {
            let (index, value) = (condition.index(), condition.value());
            let half = is_key(*call, index);
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}arg{index}")?;
            match condition.op() {
                CompareOp::MaskedEq(LOW) if half => {
                    write!(
                        f,
                        "={}",
                        name(*call, index, &args).unwrap_or_else(|| format!("{value:#x}"))
                    )
                }
                CompareOp::MaskedEq(mask) => write!(f, "&{mask:#x}={value:#x}"),
                CompareOp::Eq if half => write!(f, "&{:#x}={value:#x}", u64::MAX),
                CompareOp::Eq => write!(f, "={value:#x}"),
                CompareOp::Ne => write!(f, "!={value:#x}"),
                CompareOp::Lt => write!(f, "<{value:#x}"),
                CompareOp::Le => write!(f, "<={value:#x}"),
                CompareOp::Ge => write!(f, ">={value:#x}"),
                CompareOp::Gt => write!(f, ">{value:#x}"),
            }?;
        }
        Ok(())
    }
}

/// The header's name of an argument's value.
pub(crate) fn name(call: Syscall, index: u8, args: &[u64; 6]) -> Option<String> {
    let found = keys(call, args).into_iter().find(|key| key.index == index)?;
    (argument_value(call.abi(), &found.name) == Some(found.value)).then_some(found.name)
}

#[cfg(test)]
mod tests {
    use callgate_abi::Arch;

    use super::*;

    fn call(name: &str) -> Syscall {
        Arch::X86_64.call(name).unwrap()
    }

    fn arg(index: u8, op: CompareOp, value: u64) -> ArgCondition {
        ArgCondition::new(index, op, value).unwrap()
    }

    #[test]
    fn names_numbers_masks_and_lists_are_read_with_the_width_that_the_kernel_reads() {
        assert_eq!(
            when(call("socket"), "arg0=AF_UNIX, arg1=SOCK_STREAM|SOCK_CLOEXEC"),
            Ok(vec![
                arg(0, CompareOp::MaskedEq(LOW), 1),
                arg(1, CompareOp::MaskedEq(LOW), 0o2_000_001)
            ])
        );
        assert_eq!(
            when(call("read"), "arg2<=4096"),
            Ok(vec![arg(2, CompareOp::Le, 4096)])
        );
        assert_eq!(
            when(call("prlimit64"), "arg0 == 0"),
            Ok(vec![arg(0, CompareOp::Eq, 0)])
        );
        assert_eq!(
            when(call("clone"), "arg0&0x7e020000=0"),
            Ok(vec![arg(0, CompareOp::MaskedEq(0x7e02_0000), 0)])
        );
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for (name, text) in [
            ("socket", "arg0=AF_UNIX,arg1=SOCK_STREAM"),
            ("ioctl", "arg1=TIOCGWINSZ"),
            ("ioctl", "arg1=0xabcd"),
            ("clone", "arg0&0x7e020000=0x0"),
            ("read", "arg2>0x10,arg0!=0x3"),
            ("mmap", "arg2=PROT_READ|PROT_WRITE"),
        ] {
            let conditions = when(call(name), text).unwrap();
            assert_eq!(Words(call(name), &conditions).to_string(), text);
        }
    }

    #[test]
    fn a_comparison_that_upper_bits_would_pass_is_refused() {
        let told = |text: &str| when(call("ioctl"), text).unwrap_err().to_string();
        assert!(told("arg1!=TIOCSTI").contains("upper bits would pass"));
        assert!(told("arg1>5").contains("upper bits would pass"));
        assert!(told("arg1=0x100005412").contains("32 bits"));
        assert!(told("arg1=TIOCNOPE").contains("TIOCNOPE"));
        assert!(told("arg7=1").contains("N from 0 to 5") && told("request=1").contains("argN=VALUE"));
        assert!(told("arg0&1=2").contains("never hold"));
    }
}
