//! The settings file.

use super::Settings;

/// What the settings file at `path` says; what cannot be read is among the problems.
pub(super) fn read(path: &str, problems: &mut Vec<String>) -> Settings {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(format!("cannot read the settings file {path}: {error}"));
            return Settings::default();
        }
    };
    match toml::from_str(&text) {
        Ok(settings) => settings,
        Err(error) => {
            // The whole display would quote the line, which may hold a connection string.
            problems.push(format!("{path}: {}", error.message()));
            Settings::default()
        }
    }
}
