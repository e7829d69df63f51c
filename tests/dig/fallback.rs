//! Where no filter can be loaded, or one would change the program: every call is stopped on, that is said,
//! and the set is the same.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::alike::alike;
use super::{count, dig};
use crate::support::{CALLGATE, available, compiled, expect, json, root, scratch, tool};

const NOBODY: u32 = 65534;

fn setpriv() -> [&'static str; 4] {
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
}

/// A command from its words.
fn command<A: AsRef<OsStr>>(words: impl IntoIterator<Item = A>) -> Command {
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .env("WARM", "1")
        .env("NO_COLOR", "1")
        .current_dir("/");
    command
}

fn words(path: &Path, rest: &[&str]) -> Vec<String> {
    let first = path.to_str().unwrap().to_owned();
    std::iter::once(first)
        .chain(rest.iter().map(ToString::to_string))
        .collect()
}

fn is_slow(trace: &Value, why: &str) {
    assert_eq!(trace["counts"], "exact", "{trace:#}");
    assert!(count(trace, "getppid") >= 4000, "every call was stopped on");
    let notes = trace["notes"].to_string();
    assert!(
        notes.contains("stopped on every call") && notes.contains(why),
        "{notes}"
    );
}

#[test]
fn where_an_outer_filter_refuses_filters_all_is_stopped_on_and_that_is_said() {
    let dir = scratch();
    let Some(program) = compiled("refused", dir.path()) else {
        return;
    };
    let record = |how: &[&str]| {
        let mut all = words(&program, &["under", CALLGATE, "dig", "--json"]);
        all.extend(how.iter().map(ToString::to_string));
        all.extend(["--".to_owned(), program.to_str().unwrap().to_owned()]);
        json(&expect(0, &mut command(all)))
    };
    let both = || [record(&[]), record(&["--counts"])];
    let [fast, exact] = both();
    is_slow(&fast, "under a seccomp filter already");
    alike(fast, exact, both);
}

#[test]
fn where_there_is_no_room_for_a_filter_all_is_stopped_on_and_that_is_said() {
    let dir = scratch();
    let Some(program) = compiled("refused", dir.path()) else {
        return;
    };
    let record = |how: &[&str]| {
        let mut command = dig(how);
        command.arg("--").arg(&program).arg("cramped").env("WARM", "1");
        json(&expect(0, &mut command))
    };
    let both = || [record(&[]), record(&["--counts"])];
    let [fast, exact] = both();
    is_slow(&fast, "mmap");
    assert_eq!(
        count(&fast, "mmap"),
        count(&exact, "mmap"),
        "our own attempt is not in it"
    );
    alike(fast, exact, both);
}

/// A copy that runs as another user, whoever starts it, with what must be readable for that.
fn changing(program: &Path, into: &Path, user: u32) -> PathBuf {
    let copy = into.join(format!("as-{user}"));
    fs::copy(program, &copy).unwrap();
    std::os::unix::fs::chown(&copy, Some(user), Some(user)).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(into, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

#[test]
fn a_set_user_id_program_has_the_user_that_it_has_under_strace() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let dir = scratch();
    let Some(program) = compiled("refused", dir.path()) else {
        return;
    };
    let nobody = changing(&program, dir.path(), NOBODY);
    let admin = changing(&program, dir.path(), 0);
    let binary = dir.path().join("callgate");
    fs::copy(CALLGATE, &binary).unwrap();
    let bare = command(words(&nobody, &["user", "65534"])).status().unwrap();
    let honoured = if bare.success() {
        Ok(())
    } else {
        Err(format!(
            "set-user-ID programs do not change their user here: {bare}"
        ))
    };
    if !available("set-user-ID", honoured) {
        return;
    }
    let dug = |own: &[&str], probe: Vec<String>| {
        let mut all: Vec<String> = own.iter().map(ToString::to_string).collect();
        all.extend(words(&binary, &["dig", "--json", "--"]));
        all.extend(probe);
        json(&expect(0, &mut command(all)))
    };
    let straced = |own: &[&str], probe: &[String]| {
        if available("strace", tool("strace")) {
            let log = dir.path().join("log");
            let _ = fs::remove_file(&log);
            let mut all: Vec<String> = own.iter().map(ToString::to_string).collect();
            all.extend(["strace", "-f", "-o", "/dev/null", "-e", "trace=execve"].map(str::to_owned));
            all.extend(probe.iter().cloned());
            expect(0, &mut command(all));
        }
    };
    // Traced by root it changes its user, and so it gets no filter: that would need no_new_privs.
    let probe = words(&nobody, &["user", "65534"]);
    straced(&[], &probe);
    is_slow(&dug(&[], probe), "set-user-ID");
    // Also behind a filter that came before: root's needs no no_new_privs.
    let probe = words(&program, &["become", nobody.to_str().unwrap(), "65534"]);
    straced(&[], &probe);
    let trace = dug(&[], probe);
    assert_eq!(trace["counts"], "lower_bound", "{trace:#}");
    // Traced by an ordinary user it keeps its caller's, by the kernel's rule, and nothing is lost by a filter.
    let probe = words(&admin, &["user", "65534"]);
    straced(&setpriv(), &probe);
    let trace = dug(&setpriv(), probe);
    assert_eq!(trace["counts"], "lower_bound", "{trace:#}");
}

#[test]
fn landlock_asks_for_no_new_privs_as_without_dig() {
    let dir = scratch();
    let Some(program) = compiled("guarded", dir.path()) else {
        return;
    };
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let bare = command(words(&program, &["landlock"])).status().unwrap();
    let there = if bare.success() {
        Ok(())
    } else {
        Err(format!("landlock without dig: {bare}"))
    };
    if !available("landlock", there) {
        return;
    }
    let binary = dir.path().join("callgate");
    fs::copy(CALLGATE, &binary).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // As root, and as one who may not do so before no_new_privs is set.
    for (own, args) in [
        (&[][..], &["landlock"][..]),
        (&setpriv(), &["landlock", "unprivileged"]),
    ] {
        let with = |words: Vec<String>| {
            let own = own.iter().map(ToString::to_string);
            command(own.chain(words).collect::<Vec<_>>())
        };
        expect(0, &mut with(words(&program, args)));
        let mut dug = words(&binary, &["dig", "--json", "--"]);
        dug.extend(words(&program, args));
        let trace = json(&expect(0, &mut with(dug)));
        assert_eq!(trace["counts"], "lower_bound", "{trace:#}");
        assert!(count(&trace, "landlock_restrict_self") >= 1);
    }
}
