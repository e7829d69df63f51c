//! The tests of this crate that run real interpreters: one module for each promise.

#[cfg(test)]
mod blocks;
#[cfg(test)]
mod environments;
#[cfg(test)]
mod interpreters;
#[cfg(test)]
mod prelude;
#[cfg(test)]
mod pythons;
#[cfg(test)]
mod stacks;
#[cfg(test)]
mod supervisor;
#[cfg(test)]
mod sys;
