//! The memory of the process, which holds tokens and keys while it runs, kept from others.
//!
//! No core file is written, and the process is not dumpable: other processes of the same user can neither attach to it
//! nor read `/proc/PID/mem` and `/proc/PID/environ`, and what collects cores through a pipe gets none. The limit is
//! inherited by programs that manifests run; the other ends with their `exec`, so they work as ever. Root can read
//! everything, and memory may be swapped out.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Seals the process. Where a system refuses, the program runs all the same: this is the second lock, not the first.
pub(super) fn seal() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
