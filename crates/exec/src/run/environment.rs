//! The variables that the code gets.

use std::ffi::OsString;

use callgate_rootfs::Identity;

/// The environment of every run, with these variables besides: nothing of ours but what is given.
pub fn environment(given: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    let fixed = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", Identity::HOME),
        ("LANG", "C.UTF-8"),
        ("USER", Identity::NAME),
    ];
    let kept = fixed
        .into_iter()
        .filter(|(name, _)| !given.iter().any(|(known, _)| known == name));
    kept.map(|(name, value)| (name.into(), value.into()))
        .chain(given.iter().cloned())
        .collect()
}

/// Variables as execve(2) takes them.
pub(crate) fn variables(given: &[(OsString, OsString)]) -> Vec<OsString> {
    let join = |(mut variable, value): (OsString, OsString)| {
        variable.push("=");
        variable.push(value);
        variable
    };
    environment(given).into_iter().map(join).collect()
}
