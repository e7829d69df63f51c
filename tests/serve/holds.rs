//! What clients and their code do to a server: it answers the next request, and nothing of the bad one is left.
//!
//! - [`remains`]: what a server has, seen from outside, and that it has no more than before; [`processes`]: what the
//!   kernel tells of processes;
//! - [`bombs`]: code that takes all it can: output, memory, processes, threads, time;
//! - [`crowds`]: slow and vanishing clients, too many at once, large bodies, garbage;
//! - [`unread`]: answers that nobody takes;
//! - [`breaks`]: what is killed;
//! - [`disks`]: full disks, a log that can't be written;
//! - [`endurance`]: memory over many requests.

mod bombs;
mod breaks;
mod crowds;
mod disks;
mod endurance;
pub mod processes;
mod remains;
mod unread;
