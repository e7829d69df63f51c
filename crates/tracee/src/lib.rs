//! A process under ptrace: start, seize, stop, read, inject, resume
