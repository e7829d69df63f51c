//! What others build on: help, exit codes, JSON keys, colours, pipes.

mod codes;
mod help;
mod json;
mod terminal;
