//! `callgate root build|check`: makes and checks the tree that sandboxed code sees as `/`.

use std::path::Path;

use callgate_cache::Cache;
use callgate_python::interpreter::Interpreter;
use callgate_rootfs::{
    BuildError, BuildOptions, Identity, Plan, Report, Wanted, check_directory, check_plan, materialise,
};
use serde_json::json;

use crate::args::{NetArg, RootBuildArgs, RootCheckArgs};
use crate::failure::{CANNOT, Failure};
use crate::progress::Spinner;
use crate::terminal::{DIM, GREEN, escape};
use crate::{input, kept, output, table};

pub(crate) fn build(args: &RootBuildArgs) -> Result<u8, Failure> {
    let identity = Identity {
        uid: args.uid,
        gid: args.uid,
    };
    let mut plan = match &args.from {
        Some(path) => {
            let trace = input::trace(path)?;
            let plan = Plan::for_trace(&trace, &path.display().to_string(), &identity);
            plan.map_err(|error| Failure::input(format!("{}: {error}", path.display())))?
        }
        None => {
            let cache = kept::open(&args.cache);
            planned(args.script.as_deref(), args.python.as_deref(), &cache, &identity)?
        }
    };
    if args.net == NetArg::Host {
        plan.add_network().map_err(Failure::input)?;
    }
    plan.add(&input::absolute(&args.add, "--add")?)
        .map_err(|error| Failure::input(format!("--add: {error}")))?;
    let spinner = Spinner::new();
    spinner.say(&format!("building {}", args.dir.display()));
    let options = BuildOptions {
        reflink: args.reflink,
        store: args.store.clone(),
    };
    let built = materialise(&plan, &args.dir, &options, &mut |progress| {
        spinner.tick(|| {
            format!(
                "{} of {} files, {} of {} MiB",
                progress.files,
                progress.all_files,
                progress.bytes >> 20,
                progress.all_bytes >> 20
            )
        });
    });
    spinner.end();
    let built = built.map_err(|error| match error {
        BuildError::Store(error) => Failure::input(error),
        error @ BuildError::InScratch { .. } => Failure::input(error),
        error => Failure::new(CANNOT, error),
    })?;
    if args.json {
        return output::json(&json!({
            "schema": "callgate.built/1",
            "dir": built.root.dir,
            "files": built.files,
            "bytes": built.bytes,
            "written": built.written,
            "reflinked": built.reflinked,
            "linked": built.linked,
            "stored": built.stored,
            "removed": built.removed,
            "notes": built.root.notes,
        }))
        .map(|()| 0);
    }
    for note in &built.root.notes {
        say!("{DIM}note: {}{DIM:#}", escape(note));
    }
    let how = match (&args.store, args.reflink) {
        (Some(_), _) => format!(
            ", {} as links, {} of them new in the store",
            built.linked, built.stored
        ),
        (None, true) => format!(", {} reflinked", built.reflinked),
        (None, false) => String::new(),
    };
    say!(
        "{GREEN}built{GREEN:#} {}: {} files, {:.1} MiB ({} written{}, {} removed)",
        args.dir.display(),
        built.files,
        built.bytes as f64 / f64::from(1 << 20),
        built.written,
        how,
        built.removed
    );
    Ok(0)
}

pub(crate) fn check(args: &RootCheckArgs) -> Result<u8, Failure> {
    let report = match &args.dir {
        Some(dir) => check_directory(dir).map_err(Failure::input)?,
        None => {
            let cache = kept::open(&args.cache);
            let identity = Identity {
                uid: 65_398,
                gid: 65_398,
            };
            let plan = planned(args.script.as_deref(), args.python.as_deref(), &cache, &identity)?;
            check_plan(&plan)
        }
    };
    if args.json {
        output::json(&report)?;
    } else {
        print(&report)?;
    }
    Ok(u8::from(!report.is_complete()))
}

/// The plan for a script's interpreter, or for a given one.
fn planned(
    script: Option<&Path>,
    python: Option<&Path>,
    cache: &Cache,
    identity: &Identity,
) -> Result<Plan, Failure> {
    let interpreter = interpreter(script, python, cache)?;
    let plan = Plan::recall(cache, Wanted::Python(&interpreter)).map(|plan| plan.named(*identity));
    kept::complain(cache);
    plan.map_err(Failure::input)
}

fn interpreter(script: Option<&Path>, python: Option<&Path>, cache: &Cache) -> Result<Interpreter, Failure> {
    match script {
        None => input::interpreter(None, python, cache),
        Some(path) => {
            let (code, name) = input::bytes(path)?;
            input::interpreter(Some((&code, &name)), None, cache)
        }
    }
}

fn print(report: &Report) -> Result<(), Failure> {
    for note in &report.notes {
        say!("{DIM}note: {}{DIM:#}", escape(note));
    }
    let all: Vec<_> = report.unresolved.iter().map(|m| ("missing", m)).collect();
    let all: Vec<_> = all
        .into_iter()
        .chain(report.uncertain.iter().map(|m| ("uncertain", m)))
        .collect();
    if all.is_empty() {
        return output::stdout(format!("all of {} objects find what they need\n", report.objects).as_bytes());
    }
    let mut table = table::table(&[
        "",
        "shared object",
        "needed by",
        "elsewhere in the root",
        "on the host",
    ]);
    let paths = |list: &[std::path::PathBuf]| {
        list.iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
            .join("\n")
    };
    for (state, missing) in all {
        table.add_row([
            table::text(state),
            table::text(&missing.soname),
            table::text(missing.needed_by.display().to_string()),
            table::text(paths(&missing.in_root)),
            table::text(paths(&missing.on_host)),
        ]);
    }
    output::stdout(format!("{table}\n").as_bytes())
}
