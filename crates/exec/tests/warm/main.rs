//! Warm runs on the real kernel: as cold ones but for what is named, apart from each other, and ended whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(test)]
mod afterwards;
mod alike;
#[cfg(test)]
mod apart;
#[cfg(test)]
mod contained;
#[cfg(test)]
mod deaths;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod given;
#[cfg(test)]
mod outside;
#[cfg(test)]
mod renewal;
#[cfg(test)]
mod spent;
#[cfg(test)]
mod support;
