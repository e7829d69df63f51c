//! Everything that knows Python: interpreters, PEP 723 environments, the prelude, stacks
