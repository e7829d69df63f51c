//! Runs a command in a root, under filters and limits, and says how it ended
