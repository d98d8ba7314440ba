//! What a process that holds secrets asks of the operating system.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Forbids core dumps and reading the process's memory by others of the same user, and
/// takes as many file descriptors as it may. Where the system does not let it, that is
/// logged, and the process goes on.
pub fn harden() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps cannot be forbidden");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "reading this process's memory cannot be forbidden");
    }
    let files = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::warn!(%error, "the limit on open files cannot be raised");
    }
}
