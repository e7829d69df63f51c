//! Names of error numbers (asm-generic/errno.h; the same on x86-64 and arm64).

use std::borrow::Cow;

use syscalls::Errno;

/// `ENOENT` for 2; a number without a name is written as `errno_N`.
pub fn errno_name(errno: u16) -> Cow<'static, str> {
    match Errno::new(i32::from(errno)).name() {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("errno_{errno}")),
    }
}

/// 2 for `ENOENT` (or `errno_2`, or `2`); `None` for a word that is no errno.
pub fn errno_number(name: &str) -> Option<u16> {
    let digits = name.strip_prefix("errno_").unwrap_or(name);
    if let Ok(number) = digits.parse::<u16>() {
        return (number <= 4095).then_some(number);
    }
    match name {
        "EWOULDBLOCK" => Some(11),
        "EDEADLOCK" => Some(35),
        "ENOTSUP" => Some(95),
        _ => (0..=4095).find(|errno| Errno::new(i32::from(*errno)).name() == Some(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_to_each_other() {
        assert_eq!(errno_name(1), "EPERM");
        assert_eq!(errno_name(38), "ENOSYS");
        assert_eq!(errno_name(4000), "errno_4000");
        assert_eq!(errno_number("ENOSYS"), Some(38));
        assert_eq!(errno_number("38"), Some(38));
        assert_eq!(errno_number("errno_4000"), Some(4000));
        assert_eq!(errno_number("EWOULDBLOCK"), Some(11));
        assert_eq!(errno_number("ENOSUCH"), None);
    }
}
