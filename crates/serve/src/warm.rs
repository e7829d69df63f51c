//! Interpreters that are warm: a template for each network, replaced when the environment has changed.

use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use callgate_exec::{Network, Networks, Root, SetUpFailure, Spec, Template};
use callgate_python::interpreter::Interpreter;

use crate::engine::{Networked, Sandbox};
use crate::script;

/// How templates are made.
#[derive(Clone, Debug)]
pub struct Warmth {
    /// The modules that are imported ahead, in their order.
    pub preimport: Vec<String>,
    /// After how many runs a template is replaced by a fresh one.
    pub renew_after: u64,
    /// Whose the network namespaces of runs have been that don't have the host's.
    pub networks: Networks,
}

/// What an exception that nobody caught is shown with: imported when it is needed otherwise, under the policy.
const OURS: [&str; 2] = ["traceback", "linecache"];

/// The templates that are in use; none where each run has a new interpreter.
#[derive(Debug, Default)]
pub(crate) struct Warm(RwLock<Templates>);

#[derive(Clone, Debug, Default)]
struct Templates {
    closed: Option<Arc<Template>>,
    open: Option<Arc<Template>>,
}

impl Warm {
    /// Makes templates and puts them in the place of those that are in use, which end when their last run has.
    ///
    /// # Errors
    /// The step that failed: those in use stay.
    pub(crate) fn replace(
        &self,
        sandbox: &Sandbox,
        warmth: &Warmth,
        interpreter: &Interpreter,
        beds: usize,
    ) -> Result<(), SetUpFailure> {
        let spec = |networked: Option<&Networked>| {
            let rules = networked.map_or(&sandbox.rules, |networked| &networked.rules);
            let root = Root::ForPython(Box::new(interpreter.clone()));
            let mut spec = Spec::new(interpreter.executable.clone(), root, rules.filter.clone());
            spec.tier = sandbox.tier;
            spec.limits = sandbox.limits;
            spec.beds = beds;
            spec.renew_after = warmth.renew_after;
            spec.networks = warmth.networks;
            spec.beginning = Some(script::beginning());
            spec.preimport.clone_from(&warmth.preimport);
            for module in OURS {
                if !spec.preimport.iter().any(|given| given == module) {
                    spec.preimport.push(module.to_owned());
                }
            }
            if let Some(networked) = networked {
                spec.network = Network::Host;
                spec.env.clone_from(&networked.env);
            }
            spec
        };
        let start = |spec: Spec| Template::start(spec).map(Arc::new);
        let made = thread::scope(|scope| {
            let open = sandbox.network.as_ref().map(|networked| {
                let spec = spec(Some(networked));
                scope.spawn(move || start(spec))
            });
            let closed = start(spec(None))?;
            let open = open.map(|open| match open.join() {
                Ok(started) => started,
                Err(_) => Err(SetUpFailure {
                    step: "template".to_owned(),
                    error: "its thread has ended".to_owned(),
                    advice: None,
                }),
            });
            Ok(Templates {
                closed: Some(closed),
                open: open.transpose()?,
            })
        })?;
        let before = std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), made);
        // Outside the lock: dropping them ends processes.
        drop(before);
        Ok(())
    }

    /// Ends those that are in use.
    pub(crate) fn clear(&self) {
        let before = std::mem::take(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner));
        drop(before);
    }

    /// The template for runs with or without a network.
    pub(crate) fn template(&self, network: bool) -> Option<Arc<Template>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match network {
            true => all.open.clone(),
            false => all.closed.clone(),
        }
    }

    /// How many runs could begin at once without waiting.
    pub(crate) fn ready(&self) -> usize {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        all.closed
            .iter()
            .chain(&all.open)
            .map(|template| template.ready())
            .sum()
    }
}
