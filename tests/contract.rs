//! What others build on: help, exit codes, JSON keys, colours, pipes, what is promised; and how the house is built.

mod codes;
mod help;
mod house;
mod json;
mod promises;
mod readme;
mod terminal;
