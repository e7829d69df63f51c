//! Records the system calls of a probe with ptrace
