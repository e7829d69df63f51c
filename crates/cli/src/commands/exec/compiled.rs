//! The policy of a run as one filter, which is compiled once.

use callgate_abi::{Arch, Filter, Instruction};
use callgate_cache::{Cache, digest};

use crate::failure::Failure;
use crate::input::PolicyText;

/// An instruction as it is kept: what [`Instruction`] has, in its order.
type Kept = (u16, u8, u8, u32);

/// The filter of this text; from the cache, if it has been compiled before. Nothing else has a say in it.
pub(super) fn compiled(policy: &PolicyText, cache: &Cache) -> Result<Filter, Failure> {
    let key = (Arch::NATIVE.to_string(), digest(policy.text.as_bytes()));
    let kept: Vec<Kept> = cache.recall("filter", &key, || {
        let filter = callgate_policy::compile(&policy.parsed()?, Arch::NATIVE)
            .and_then(|compiled| compiled.link())
            .map_err(|error| Failure::input(format!("{}: {error}", policy.name)))?;
        Ok::<_, Failure>(filter.0.iter().map(|at| (at.code, at.jt, at.jf, at.k)).collect())
    })?;
    let instruction = |(code, jt, jf, k)| Instruction { code, jt, jf, k };
    Ok(Filter(kept.into_iter().map(instruction).collect()))
}
