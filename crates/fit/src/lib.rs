//! The loop that joins dig, policy and exec: traced, enforced, amended until it runs
