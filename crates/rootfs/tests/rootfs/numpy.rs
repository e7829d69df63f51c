//! Wheels with libraries of their own.

use std::fs;
use std::path::Path;
use std::time::Instant;

use callgate_rootfs::{Plan, check_directory, check_plan};

use crate::{WHO, build, environment, home, inside, is_root, said};

#[test]
fn numpy_brings_its_libraries_and_a_lost_one_is_named_with_who_needs_it() {
    let home = home();
    let Some(python) = environment(home.path(), &["numpy"]) else {
        return;
    };
    let start = Instant::now();
    let plan = Plan::for_python(&python, &WHO).unwrap();
    println!("planned in {:?}, {} entries", start.elapsed(), plan.len());
    assert!(check_plan(&plan).is_complete(), "{:?}", plan.missing());

    let dir = tempfile::tempdir().unwrap();
    let built = build(&plan, &dir.path().join("root"));
    let root = &built.root.dir;
    let objects = crate::objects_below(root);
    let named = |name: &str| {
        objects
            .iter()
            .find(|path| path.to_string_lossy().contains(name))
            .cloned()
    };
    let openblas = named("numpy.libs/libscipy_openblas").unwrap();
    let fortran = named("numpy.libs/libgfortran").unwrap();
    if is_root() {
        let code = "import numpy; print(numpy.linalg.inv(numpy.eye(3)).sum())";
        let output = inside(root, &python.executable, &["-I", "-c", code]);
        assert!(
            output.status.success() && said(&output).contains("3.0"),
            "{}",
            said(&output)
        );
    }

    fs::remove_file(&fortran).unwrap();
    let report = check_directory(root).unwrap();
    let [missing] = &report.unresolved[..] else {
        panic!("{:?}", report.unresolved)
    };
    assert_eq!(missing.soname, fortran.file_name().unwrap().to_string_lossy());
    assert_eq!(
        missing.needed_by,
        Path::new("/").join(openblas.strip_prefix(root).unwrap())
    );

    // The same, lost on the host: known while planning, before anything is built.
    let on_host = Path::new("/").join(openblas.strip_prefix(root).unwrap());
    assert!(
        on_host.starts_with(home.path().canonicalize().unwrap()),
        "{on_host:?} is not the test's own"
    );
    fs::remove_file(&on_host).unwrap();
    let plan = Plan::for_python(&python, &WHO).unwrap();
    let report = check_plan(&plan);
    assert!(!report.is_complete());
    let name = on_host.file_name().unwrap().to_string_lossy();
    assert!(report.unresolved.iter().all(|missing| missing.soname == name));
    let needed_by = |module: &str| {
        report
            .unresolved
            .iter()
            .any(|missing| missing.needed_by.to_string_lossy().contains(module))
    };
    assert!(
        needed_by("/_multiarray_umath.") && needed_by("/_umath_linalg."),
        "{:?}",
        report.unresolved
    );
    assert_eq!(plan.missing(), report.unresolved);
}
