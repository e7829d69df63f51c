//! The directory tree that sandboxed code sees as /
