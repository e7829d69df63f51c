//! ld.so's own tools as judges of the search.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use callgate_rootfs::{Cache, Closure};

use crate::{has, interpreter, objects_below, system_python};

#[test]
fn the_cache_is_read_as_ldconfig_reads_it() {
    let Ok(output) = Command::new("/sbin/ldconfig").arg("-p").output() else {
        has("ldconfig", false);
        return;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let theirs: Vec<(String, PathBuf)> = text
        .lines()
        .filter_map(|line| line.trim().split_once(" => "))
        .map(|(name, path)| (name.split(' ').next().unwrap().to_owned(), PathBuf::from(path)))
        .collect();
    let cache = Cache::parse(&std::fs::read("/etc/ld.so.cache").unwrap()).unwrap();
    let ours: Vec<_> = cache
        .entries()
        .iter()
        .map(|entry| (entry.soname.clone(), entry.path.clone()))
        .collect();
    assert!(ours.len() > 10);
    assert_eq!(ours, theirs);
}

/// The files ldd names, without symlinks.
fn ldd(path: &Path) -> Option<BTreeSet<PathBuf>> {
    let output = Command::new("ldd")
        .arg(path)
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let paths = text.lines().filter_map(|line| {
        let line = line.split(" (0x").next()?.trim();
        let path = Path::new(line.split_once(" => ").map_or(line, |(_, path)| path));
        path.is_absolute().then(|| path.canonicalize().unwrap())
    });
    Some(paths.collect())
}

#[test]
fn programs_get_the_files_that_ldd_names() {
    let mut programs = vec![interpreter().real_executable, std::env::current_exe().unwrap()];
    programs.extend(system_python().map(|python| python.real_executable));
    programs.extend(["/bin/sh", "/bin/ls", "/usr/bin/env", "/bin/tar"].map(PathBuf::from));
    for program in programs {
        let Some(theirs) = ldd(&program) else {
            has("ldd", false);
            return;
        };
        let real = program.canonicalize().unwrap();
        let closure = Closure::of_host(&program, &[]);
        let mut ours: BTreeSet<_> = closure.objects.keys().cloned().collect();
        // What glibc opens by dlopen is ours to add; ldd doesn't see it.
        ours.retain(|path| {
            let by_dlopen = ["libgcc_s.so", "libnss_files.so"];
            path != &real
                && (theirs.contains(path)
                    || !by_dlopen.iter().any(|name| path.to_string_lossy().contains(name)))
        });
        assert_eq!(ours, theirs, "{}", program.display());
        assert_eq!(closure.missing, [], "{}", program.display());
    }
}

#[test]
fn extension_modules_get_the_files_that_ldd_names() {
    let python = interpreter();
    let modules = objects_below(&python.stdlib.join("lib-dynload"));
    assert!(modules.len() > 30);
    let alone: BTreeSet<_> = Closure::of_host(&python.executable, &[])
        .objects
        .keys()
        .cloned()
        .collect();
    for module in modules {
        let Some(theirs) = ldd(&module) else {
            has("ldd", false);
            return;
        };
        let closure = Closure::of_host(&python.executable, std::slice::from_ref(&module));
        let ours: BTreeSet<_> = closure
            .objects
            .into_keys()
            .filter(|path| *path != module)
            .collect();
        let theirs: BTreeSet<_> = theirs.union(&alone).cloned().collect();
        assert_eq!(ours, theirs, "{}", module.display());
    }
}

/// A program that needs libone.so, which needs libtwo.so; both lie in `libs`, and only the program says so.
fn linked(dir: &Path, tags: &str) -> Option<PathBuf> {
    std::fs::create_dir_all(dir.join("libs")).unwrap();
    std::fs::write(dir.join("two.c"), "int two(void) { return 2; }").unwrap();
    std::fs::write(
        dir.join("one.c"),
        "int two(void); int one(void) { return two(); }",
    )
    .unwrap();
    std::fs::write(
        dir.join("main.c"),
        "int one(void); int main(void) { return one(); }",
    )
    .unwrap();
    let script = format!(
        "cc -shared -o libs/libtwo.so two.c && cc -shared -o libs/libone.so one.c -Llibs -ltwo && \
         cc -o program main.c -Llibs -lone -Wl,--allow-shlib-undefined -Wl,-rpath,'${{ORIGIN}}/libs' {tags}"
    );
    let output = Command::new("sh")
        .current_dir(dir)
        .args(["-c", &script])
        .output()
        .unwrap();
    has("cc", output.status.success()).then(|| dir.join("program"))
}

#[test]
fn a_search_path_is_inherited_as_rpath_and_not_as_runpath() {
    for (tags, inherited) in [
        ("-Wl,--disable-new-dtags", true),
        ("-Wl,--enable-new-dtags", false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let Some(program) = linked(&dir, tags) else { return };
        // ld.so itself says which it is.
        let runs = Command::new(&program)
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .unwrap();
        assert_eq!(
            runs.status.code(),
            Some(if inherited { 2 } else { 127 }),
            "{tags}"
        );
        let closure = Closure::of_host(&program, &[]);
        let (one, two) = (dir.join("libs/libone.so"), dir.join("libs/libtwo.so"));
        assert!(closure.objects.contains_key(&one));
        assert_eq!(closure.objects.contains_key(&two), inherited, "{tags}");
        let missing: Vec<_> = closure
            .missing
            .iter()
            .map(|missing| (&*missing.soname, &missing.needed_by))
            .collect();
        assert_eq!(
            missing,
            if inherited {
                vec![]
            } else {
                vec![("libtwo.so", &one)]
            }
        );
        // Found beside its needer, where the loader doesn't look.
        assert!(
            closure
                .missing
                .iter()
                .all(|missing| missing.in_root.contains(&two))
        );
    }
}
