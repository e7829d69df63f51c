//! What the beds of one thread have in common, one after another: where their cgroups are made, and what makes their
//! inits.

use std::rc::Rc;

use callgate_launch::{Init, Networks, Nursery, Step};

use super::bed::{ready, standing};
use super::generation::Generation;
use super::seat::{last_capability, part};
use crate::cgroup::{Absent, Cgroup, Readings, Site};
use crate::ground::Prepared;
use crate::landlock::Layer;
use crate::limits::Limits;
use crate::mounted::Standing;
use crate::outcome::SetUpFailure;
use crate::run::{Run, launch_failed, system};
use crate::setup::Ready;

/// What a bed's fork does, and what has been done by it then.
pub(super) struct Plan {
    /// Whether there is a Landlock ruleset, and a cgroup.
    with: (bool, bool),
    /// The steps that fill the ruleset.
    pub(super) fill: Vec<Step>,
    /// Its own.
    pub(super) own: Vec<Step>,
    pub(super) layers: Vec<String>,
}

/// The part of a bed that is made once for a template.
pub(super) struct Nest {
    site: Result<Site, Absent>,
    standing: Option<Standing>,
    /// The kernel's last one.
    pub(super) last_capability: u64,
    /// What its inits do, and where.
    init: Init,
    networks: Networks,
    /// Made when it is needed: it can end.
    nursery: Option<Nursery>,
    /// That of the last run, if the next can have it.
    cgroup: Option<Cgroup>,
    plan: Option<Rc<Plan>>,
}

impl Nest {
    /// For the beds with this root, of this template.
    pub(super) fn new(
        run: &Run,
        root: &Prepared,
        generation: &Generation,
        networks: Networks,
    ) -> Result<Self, SetUpFailure> {
        let standing = standing(root, generation);
        let mut init = ready(run, root, standing, None, None).init;
        // It is not in the run's cgroup. Who comes to it is, and has that for the root of its view.
        init.steps
            .retain(|step| !matches!(step, Step::Unshare(flags) if *flags == libc::CLONE_NEWCGROUP as u64));
        // It needs no privilege any more; and who enters its namespaces must have all that it has (setns(2),
        // which asks for PTRACE_MODE_READ).
        init.steps.push(Step::NoCapabilities);
        Ok(Self {
            site: Site::find(),
            standing,
            last_capability: last_capability().map_err(system("cap_last_cap"))?,
            init,
            networks,
            nursery: None,
            cgroup: None,
            plan: None,
        })
    }

    /// The set-up of a bed's fork. The descriptors in it are those of the first that had one like it.
    pub(super) fn plan(
        &mut self,
        run: &Run,
        root: &Prepared,
        landlock: Option<&Layer>,
        cgroup: Option<&Cgroup>,
    ) -> Rc<Plan> {
        let with = (landlock.is_some(), cgroup.is_some());
        if let Some(plan) = self.plan.as_ref().filter(|plan| plan.with == with) {
            return Rc::clone(plan);
        }
        let Ready { steps, layers, .. } = ready(run, root, self.standing, landlock, cgroup);
        let (fill, own) = part(steps);
        let plan = Rc::new(Plan {
            with,
            fill,
            own,
            layers,
        });
        self.plan = Some(Rc::clone(&plan));
        plan
    }

    /// A cgroup for a run, in which there is nobody but the run.
    pub(super) fn cgroup(&mut self, uid: u32, limits: &Limits) -> Result<Cgroup, Absent> {
        match self.cgroup.take() {
            Some(cgroup) => Ok(cgroup),
            None => self.site.as_ref().map_err(Clone::clone)?.make(uid, limits, 0),
        }
    }

    /// Keeps a run's cgroup for the next one, which has the same uid and limits, if nothing of the run is left in it: to
    /// make and to remove one takes an eighth of a short run. Else it is removed.
    pub(super) fn keep(&mut self, cgroup: Option<Cgroup>, last: &Readings) {
        self.cgroup = cgroup.filter(|cgroup| cgroup.renew(last));
    }

    /// What makes the inits.
    pub(super) fn nursery(&mut self) -> Result<&mut Nursery, SetUpFailure> {
        match &mut self.nursery {
            Some(nursery) => Ok(nursery),
            none => {
                let made = Nursery::start(self.init.clone(), self.networks);
                Ok(none.insert(made.map_err(launch_failed)?))
            }
        }
    }
}
