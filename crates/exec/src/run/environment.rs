//! The variables that the code gets.

use std::ffi::OsString;
use std::path::Path;

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

/// Variables as execve(2) takes them. HOME and TMPDIR are `home`, if they are not /tmp.
pub(crate) fn variables(given: &[(OsString, OsString)], home: Option<&Path>) -> Vec<OsString> {
    let known = |name: &str| given.iter().any(|(given, _)| given == name);
    let mut all = given.to_vec();
    for name in ["HOME", "TMPDIR"] {
        if let (Some(home), false) = (home, known(name)) {
            all.push((name.into(), home.into()));
        }
    }
    let join = |(mut variable, value): (OsString, OsString)| {
        variable.push("=");
        variable.push(value);
        variable
    };
    environment(&all).into_iter().map(join).collect()
}
