//! Operating system protections for a process that holds secrets.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

/// Forbids core dumps and keeps other processes of the same user from reading the memory, and
/// raises the limit on file descriptors. Where the system does not allow it, that is
/// logged, and the process continues.
pub fn harden() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "cannot disable core dumps");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "cannot protect this process's memory from other processes");
    }
    let files = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
}

/// Why memory is not kept out of swap.
#[derive(Debug, Error)]
pub enum NotLocked {
    /// The process may lock only part of its memory, and allocations would fail once
    /// it needs more.
    #[error(
        "this process may lock only {bytes} bytes of memory; remove the limit (systemd: \
         LimitMEMLOCK=infinity, containers: --ulimit memlock=-1), or give it CAP_IPC_LOCK"
    )]
    Limited {
        /// How much it may lock.
        bytes: u64,
    },
    /// The system refused.
    #[error("the system refused to lock memory: {0}")]
    System(#[from] io::Error),
}

/// Keeps all memory of this process, present and future, out of swap: each page from the
/// moment that it is used. Only where the process may lock without a limit;
/// under a limit, allocations beyond it would fail.
///
/// # Errors
///
/// [`NotLocked`], and then nothing is locked.
#[cfg(target_os = "linux")]
pub fn lock_memory() -> Result<(), NotLocked> {
    use rustix::io::Errno;
    use rustix::mm::{MlockAllFlags, mlockall};

    let before = getrlimit(Resource::Memlock);
    let limit = |current| {
        let maximum = before.maximum;
        setrlimit(Resource::Memlock, Rlimit { current, maximum }).map_err(io::Error::from)
    };
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    let Some(bytes) = before.maximum else {
        limit(None)?;
        return Ok(mlockall(all).map_err(io::Error::from)?);
    };
    // A process without a limit (CAP_IPC_LOCK) may lock even under a limit of zero, and no other
    // may: the only test that also works inside user namespaces.
    limit(Some(0))?;
    let locked = mlockall(all);
    limit(before.current)?;
    locked.map_err(|error| match error {
        Errno::PERM => NotLocked::Limited { bytes },
        error => NotLocked::System(error.into()),
    })
}

/// Memory is locked on Linux only.
///
/// # Errors
///
/// Always [`NotLocked::System`].
#[cfg(not(target_os = "linux"))]
pub fn lock_memory() -> Result<(), NotLocked> {
    Err(NotLocked::System(io::ErrorKind::Unsupported.into()))
}
