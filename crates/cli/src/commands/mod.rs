//! One module per command: words in, work by the other crates, report out.

pub(crate) mod diff;
pub(crate) mod dig;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod fit;
pub(crate) mod policy;
pub(crate) mod prune;
pub(crate) mod report;
pub(crate) mod root;
pub(crate) mod serve;
