//! What others build on: help, exit codes, JSON keys, colours, pipes, what is promised.

mod codes;
mod help;
mod json;
mod promises;
mod readme;
mod terminal;
