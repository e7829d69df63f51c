//! One thread, one bed after another: made ahead, given a job, cleared away.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callgate_launch::{Reports, Usage};
use callgate_python::template;
use callgate_tracee::Stopper;

use super::bed::{Bed, Given};
use super::generation::{Generation, failure};
use super::nest::Nest;
use super::template::{Next, Order, Shared, Told};
use crate::attend::{Attended, keep_time};
use crate::cgroup::Cgroup;
use crate::ground::{Prepared, tidy};
use crate::outcome::{Outcome, SetUpFailure};
use crate::run::{Course, Input, Io, Run, streams, system};
use crate::tier::Tier;

/// How often a job is given another bed when its own was lost before it began, besides all that may have been
/// killed with it.
const TRIES: usize = 3;

/// After what time a bed that could not be made is tried again.
const SOON: Duration = Duration::from_millis(20);

/// Serves until the template is closed.
pub(super) fn serve(shared: &Arc<Shared>, first: bool) {
    let mut own: Option<Own> = None;
    let mut failed = 0;
    while !shared.is_closed() {
        let served = shared.generation().and_then(|generation| {
            let mut mine = match own.take() {
                Some(mine) if Arc::ptr_eq(&mine.generation, &generation) => mine,
                before => Own::of(shared, generation, before, first)?,
            };
            // What it has is kept unless something went wrong.
            let served = turn(shared, &mut mine)?;
            own = Some(mine);
            Ok(served)
        });
        if served.is_ok() {
            failed = 0;
        }
        match served {
            Ok(Served::Done) => {}
            Ok(Served::Lost(mut order)) => {
                order.lost += 1;
                if order.lost < TRIES + shared.spec.beds {
                    shared.give_back(order);
                } else {
                    let outcome = Outcome::of(failure("its beds were lost before it began".to_owned(), None));
                    let _ = order.tell.send(Told::Over(Box::new(outcome)));
                }
            }
            // The template may have died meanwhile: there will be another.
            Err(_) if failed < TRIES && !shared.is_fresh() => {
                failed += 1;
                std::thread::sleep(SOON);
            }
            Err(failure) => shared.fail(failure),
        }
    }
}

/// What a thread has for its beds.
struct Own {
    generation: Arc<Generation>,
    root: Arc<Prepared>,
    /// A run before its job.
    run: Run,
    nest: Nest,
}

impl Own {
    fn of(
        shared: &Shared,
        generation: Arc<Generation>,
        before: Option<Self>,
        first: bool,
    ) -> Result<Self, SetUpFailure> {
        let of = &generation.root;
        let root = match before {
            Some(before) if Arc::ptr_eq(&before.generation.root, of) => before.root,
            // The uid of the template is that of its first bed where it is not what it runs under.
            _ if first && of.tier == Tier::Full => Arc::clone(of),
            _ => Arc::new(of.another()?),
        };
        let run = shared.spec.run(None);
        let nest = Nest::new(&run, &root, &generation, shared.spec.networks)?;
        Ok(Self {
            generation,
            root,
            run,
            nest,
        })
    }
}

enum Served {
    Done,
    /// The bed's processes ended before the job began.
    Lost(Order),
}

/// One bed, from its making to its end.
fn turn(shared: &Shared, own: &mut Own) -> Result<Served, SetUpFailure> {
    let Own {
        generation,
        root,
        run,
        nest,
    } = own;
    let mut nothing = |_| Ok(());
    let bed = Bed::make(run, root, generation, nest, &mut nothing)?;
    let order = match shared.next(generation) {
        Next::Order(order) => order,
        Next::Stale | Next::Closed => return Ok(Served::Done),
    };
    let done = job(shared, root, nest, bed, &order).map(|outcome| {
        outcome.map(|mut outcome| {
            if root.tier == Tier::Container {
                outcome.notes.extend(tidy(&root.ground, root.identity.uid));
            }
            outcome
        })
    });
    match done {
        Ok(Some(outcome)) => {
            let _ = order.tell.send(Told::Over(Box::new(outcome)));
        }
        Ok(None) => return Ok(Served::Lost(order)),
        Err(failure) => {
            let _ = order.tell.send(Told::Over(Box::new(Outcome::of(failure))));
        }
    }
    Ok(Served::Done)
}

/// Gives the job to the bed and sees it to its end. `None` if the bed is lost and nothing has begun.
fn job(
    shared: &Shared,
    root: &Prepared,
    nest: &mut Nest,
    bed: Bed<'_>,
    order: &Order,
) -> Result<Option<Outcome>, SetUpFailure> {
    let Order { job, tell, .. } = order;
    let run = shared.spec.run(Some(job));
    let begun = Instant::now();
    // Between its words there is one, as there is for execve(2).
    let words = std::iter::once(job.name.as_bytes()).chain(job.args.iter().map(|arg| arg.as_bytes()));
    if words.into_iter().any(|word| word.contains(&0)) {
        let error = "its name or an argument holds a NUL byte".to_owned();
        return Err(failure(error, None));
    }
    let program = template::program(&job.name, &job.args, &job.code);
    let given = Given::of(&program).map_err(system("memfd_create"))?;
    let (streams, captures) = streams(&run)?;
    let pidfd = |errno: nix::errno::Errno| failure(format!("pidfd_open: {errno}"), None);
    let handle = Stopper::new(bed.fork).map_err(pidfd)?;
    let clock = bed.cgroup.as_ref().and_then(Cgroup::clock);
    let usual = matches!((run.io, &run.input), (Io::Capture, Input::Empty));
    if bed.give(&given, &streams, usual).is_err() {
        return Ok(None);
    }
    drop((given, streams));
    let _ = tell.send(Told::Started(handle.clone()));
    let done = keep_time(&run, clock, &handle).map_err(system("a thread for the time limit"))?;
    let over = bed.follow()?;
    drop(done);
    if !over.seen.locked && over.seen.error.is_none() && handle.word().is_none() {
        // It had been killed while it waited.
        return Ok(None);
    }
    let wall = begun.elapsed();
    let readings = over.cgroup.as_ref().map(Cgroup::readings).unwrap_or_default();
    nest.keep(over.cgroup, &readings);
    let used = over.seen.usage;
    let attended = Attended {
        seen: over.seen,
        reports: Reports {
            failure: None,
            usage: used.map(|used| Usage {
                cpu: used.cpu,
                max_rss_bytes: used.max_rss_bytes,
            }),
        },
        word: handle.word(),
    };
    let course = Course {
        tier: root.tier,
        layers: over.layers,
        notes: &root.notes,
        landlock: over.landlock.as_ref(),
        no_cgroup: over.no_cgroup,
        wall,
    };
    course.conclude(&run, &attended, &readings, captures).map(Some)
}
