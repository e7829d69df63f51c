//! `callgate exec`: runs code under a policy and says how it ended.

mod learned;
mod node;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use callgate_abi::{Arch, Filter};
use callgate_cache::Cache;
use callgate_exec::{Filtering, Input, Io, Lock, Program, Root, Run, Status, Word, run as run_it};
use callgate_policy::Policy;
use callgate_python::interpreter::Interpreter;

use crate::args::{ExecArgs, LangArg, LockArg, NetArg};
use crate::commands::report;
use crate::failure::{CANNOT, Failure};
use crate::{files, input, interrupt, kept, output};

/// The exit code of a run that went well whose files could not be written: they are the result.
const FILES_LOST: u8 = 1;

/// The exit code of a command that is not found.
const NOT_FOUND: u8 = 127;

pub(crate) fn run(args: &ExecArgs) -> Result<u8, Failure> {
    let begun = Instant::now();
    let source = args.policy();
    let policy = input::policy(source)?;
    let env = input::variables(&args.env)?;
    let limits = args.limits.limits();
    let files = files::brought_in(&args.file, &limits)?;
    // Both at once: neither needs the other, and each takes about as long.
    let (filter, asked) = thread::scope(|scope| {
        let compiling = thread::Builder::new().spawn_scoped(scope, || compiled(&policy, source));
        let asked = asked(args);
        let filter = match compiling {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // Where no thread is to be had.
            Err(_) => compiled(&policy, source),
        };
        (filter, asked)
    });
    let filter = filter?;
    let Asked {
        program,
        root,
        cache,
        from_stdin,
    } = asked?;
    let input = match (&args.stdin, from_stdin) {
        (Some(path), _) => Input::File(Arc::new(input::open(path, "--stdin")?)),
        (None, true) => Input::Empty,
        (None, false) => Input::Ours,
    };
    let mut request = Run {
        look_for_lacks: true,
        add: input::absolute(&args.add, "--add")?,
        filtering: match (&args.learn, args.explain) {
            (Some(_), _) => Filtering::Learned,
            (None, true) => Filtering::Explained,
            (None, false) => Filtering::Enforced,
        },
        tier: args.tier,
        timeout: args.limits.timeout,
        limits,
        network: args.net.network(),
        env,
        io: if args.json { Io::Capture } else { Io::Inherit },
        input,
        files,
        timed_since: args.timings.then_some(begun),
        cache,
        ..Run::new(program, root, filter)
    };
    match (args.lock, &request.program) {
        (Some(LockArg::Body), Program::Command { .. }) => {
            return Err(Failure::input(
                "--lock body is for scripts: of a command nobody tells where its own code begins",
            ));
        }
        (Some(LockArg::Body), _) => request.lock = Lock::Body,
        (Some(LockArg::Exec), _) => request.lock = Lock::Exec,
        (None, _) => {}
    }
    if let Some(file) = &args.learn {
        learned::check(file)?;
        learned::warn(args.policy());
    }
    // The last of what can be refused: it makes the directory.
    request.out = args.out.as_deref().map(files::destination).transpose()?;
    interrupt::install()?;
    let mut outcome = run_it(&request, |stopper| {
        interrupt::watch(stopper, Word::Interrupt as u32)
    });
    interrupt::unwatch();
    report::add_remedy(&mut outcome, &policy, source);
    if args.net == NetArg::Host && args.policy.is_none() {
        outcome
            .notes
            .push(format!("the policy is {source}, as the network is the host's"));
    }
    let lost = outcome.out.as_ref().is_some_and(|out| out.error.is_some());
    let refused = outcome.violation.is_some() || outcome.refusals.as_ref().is_some_and(|all| !all.is_empty());
    let quiet = args.quiet && outcome.status == Status::Exited && !refused && !lost;
    if args.json {
        output::json(&outcome)?;
    } else if !quiet {
        report::print(&outcome);
        if let (Some(out), Some(dir)) = (&outcome.out, &args.out) {
            files::print(out, dir);
        }
    }
    if let (Some(timings), false) = (&outcome.timings, args.json) {
        report::timings(timings);
    }
    if let Some(file) = &args.learn {
        learned::write(file, &request, &outcome, args.policy())?;
    }
    if lost && outcome.exit_code == 0 {
        // Who asked for the files must not take it that they are there.
        return Ok(FILES_LOST);
    }
    Ok(u8::try_from(outcome.exit_code).unwrap_or(CANNOT))
}

/// The policy as one filter.
fn compiled(policy: &Policy, source: &str) -> Result<Filter, Failure> {
    callgate_policy::compile(policy, Arch::NATIVE)
        .and_then(|compiled| compiled.link())
        .map_err(|error| Failure::input(format!("{source}: {error}")))
}

/// What is run and where.
struct Asked {
    program: Program,
    root: Root,
    /// What earlier runs found out.
    cache: Arc<Cache>,
    /// Whether its text came by standard input.
    from_stdin: bool,
}

fn asked(args: &ExecArgs) -> Result<Asked, Failure> {
    if args.lang == LangArg::Node {
        return node::asked(args);
    }
    let script = match (&args.script, &args.code) {
        (Some(path), _) => Some((path.as_path(), None)),
        (None, Some(code)) => Some((Path::new("<code>"), Some(code.as_bytes().to_vec()))),
        (None, None) => None,
    };
    let Some((path, code)) = script else {
        let name = args
            .rest
            .first()
            .ok_or_else(|| Failure::input("nothing to run"))?;
        let argv = args.rest.clone();
        if let Some(dir) = &args.root {
            // What is there to be run is the root's business, not the host's.
            return Ok(Asked {
                program: Program::Command {
                    program: PathBuf::from(name),
                    argv,
                },
                root: Root::Directory(dir.clone()),
                cache: kept::open(&args.python.cache),
                from_stdin: false,
            });
        }
        let program = input::program(name, NOT_FOUND)?;
        let cache = kept::open(&args.python.cache);
        let root = match (python(&program, &cache), node::of(&program, &cache)) {
            (Some(interpreter), _) => Root::ForPython(Box::new(interpreter)),
            (None, Some(node)) => Root::ForNode(node),
            (None, None) => Root::ForCommand(program.clone()),
        };
        return Ok(Asked {
            program: Program::Command { program, argv },
            root,
            cache,
            from_stdin: false,
        });
    };
    if let Some(dir) = &args.root {
        let built = callgate_rootfs::open(dir).map_err(Failure::input)?;
        let python = built.python.ok_or_else(|| {
            Failure::input(format!("there is no Python in {}", dir.display())).with_advice(Some(
                "build a root with one: callgate root build DIR --python PATH".to_owned(),
            ))
        })?;
        let from_stdin = code.is_none() && path.as_os_str() == "-";
        let (code, name) = match code {
            Some(code) => (code, path.display().to_string()),
            None => input::bytes(path)?,
        };
        let program = Program::Script {
            executable: python.executable,
            code,
            name,
            args: args.rest.clone(),
        };
        return Ok(Asked {
            program,
            root: Root::Directory(dir.clone()),
            cache: kept::open(&args.python.cache),
            from_stdin,
        });
    }
    let script = match code {
        Some(code) => input::script_of(code, path.display().to_string(), &args.python)?,
        None => input::script(path, &args.python)?,
    };
    let program = Program::Script {
        executable: script.interpreter.executable.clone(),
        code: script.code,
        name: script.name,
        args: args.rest.clone(),
    };
    Ok(Asked {
        program,
        root: Root::ForPython(Box::new(script.interpreter)),
        cache: script.cache,
        from_stdin: script.from_stdin,
    })
}

/// The interpreter that a command is, if it is one: it needs its library in the root.
fn python(program: &Path, cache: &Cache) -> Option<Interpreter> {
    let name = program.file_name()?.to_string_lossy();
    if name.starts_with("python") {
        Interpreter::recall(program, cache).ok()
    } else {
        None
    }
}
