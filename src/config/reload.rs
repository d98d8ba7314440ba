//! Which settings have changed since the process was started.

use super::{Config, ConfigError, Settings};

/// The settings that a running process reloads. All others are read once.
const LIVE: [&str; 1] = ["log"];

/// The settings that a process was started with, as written.
///
/// Flags and environment of a process do not change, so only the settings file can differ.
pub(crate) struct Written {
    flags: Settings,
    file: Option<String>,
    started: Settings,
}

/// What a reload found.
pub(crate) struct Changes {
    /// The settings as they are now, checked.
    pub(crate) config: Config,
    /// Those that can be reloaded and have changed since the last reload.
    pub(crate) live: Vec<String>,
    /// Those that have changed since the start and need a restart.
    pub(crate) waiting: Vec<String>,
}

impl Written {
    /// The settings in `flags`, the environment and the settings file now.
    pub(crate) fn now(flags: &Settings) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        // Problems with them have stopped the start already.
        let started = flags.merged(variable, &mut Vec::new());
        Self {
            flags: flags.clone(),
            file: flags.file(variable),
            started,
        }
    }

    /// The settings file, which is the only place where settings can have changed.
    pub(crate) fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// Reads the settings again.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem of the settings as they are now.
    pub(crate) fn reread(&mut self) -> Result<Changes, ConfigError> {
        let config = Config::load(&self.flags)?;
        let again = self
            .flags
            .merged(|name| std::env::var(name).ok(), &mut Vec::new());
        let changed = self.started.differing(&again).into_iter();
        let (live, waiting): (Vec<_>, Vec<_>) =
            changed.partition(|name| LIVE.contains(&name.as_str()));
        self.started.log = again.log;
        Ok(Changes {
            config,
            live,
            waiting,
        })
    }
}
