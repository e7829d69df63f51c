//! The version of an interpreter, as far as the name of its file tells it.
//!
//! To find it in memory takes longer than all else, and it is not there before the interpreter has begun to set itself
//! up. What matters is the feature release: the layout of the state changes with it (of those that can be read).

use std::path::PathBuf;

use proc_maps::MapRange;
use py_spy::python_process_info::PythonProcessInfo;

use super::offsets::NEWEST;

/// The x of 3.x in the name of the file that the interpreter lives in (`libpython3.11.so.1.0`, `python3.11`), if it
/// is one whose layout is known.
pub(super) fn minor_in(name: &str) -> Option<u64> {
    let rest = name
        .strip_prefix("lib")
        .unwrap_or(name)
        .strip_prefix("python3.")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let minor = rest[..digits].parse().ok()?;
    (9..=NEWEST).contains(&minor).then_some(minor)
}

/// What py-spy has to be told to take the version from a name: it reads no memory then.
pub(super) fn named(minor: u64) -> PythonProcessInfo {
    PythonProcessInfo {
        python_binary: None,
        libpython_binary: None,
        maps: Box::new(Vec::<MapRange>::new()),
        python_filename: PathBuf::from(format!("python3.{minor}")),
        dockerized: false,
    }
}

#[cfg(test)]
mod tests {
    use py_spy::python_process_info::get_python_version;

    use super::*;

    #[test]
    fn the_version_is_in_the_name() {
        for (name, minor) in [
            ("libpython3.11.so.1.0", Some(11)),
            ("libpython3.9d.so", Some(9)),
            ("python3.12", Some(12)),
            ("python3.15", Some(15)),
            ("python3.8", None),
            ("python3.99", None),
            ("python3", None),
            ("python3.", None),
            ("libc.so.6", None),
        ] {
            assert_eq!(minor_in(name), minor, "{name}");
        }
        let process = remoteprocess::Process::new(std::process::id() as i32).unwrap();
        let version = get_python_version(&named(12), &process).unwrap();
        assert_eq!((version.major, version.minor), (3, 12));
    }
}
