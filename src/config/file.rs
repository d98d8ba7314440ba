//! The settings file.

use toml::{Table, Value};

use super::{Settings, known};
use crate::unfit;

/// The settings in the file at `path`; what cannot be read is added to the problems, each
/// setting on its own.
pub(super) fn read(path: &str, problems: &mut Vec<String>) -> Settings {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(format!("cannot read the settings file {path}: {error}"));
            return Settings::default();
        }
    };
    let table = match toml::from_str::<Table>(&text) {
        Ok(table) => table,
        Err(error) => {
            // The error's full text would quote the line, which may hold a connection string.
            let line = error.span().map_or(String::new(), |span| {
                let before = text.get(..span.start).unwrap_or(&text);
                format!(", line {}", before.matches('\n').count() + 1)
            });
            problems.push(format!(
                "{path}{line}: this is not TOML: {}",
                error.message()
            ));
            return Settings::default();
        }
    };
    let names = known::settings();
    let mut settings = Settings::default();
    for (name, value) in table {
        if !names.contains(&name) {
            let meant = known::meant(&name, names.iter().map(String::as_str));
            let meant = meant.map_or_else(String::new, |meant| format!(": did you mean {meant}?"));
            problems.push(format!("{path}: there is no setting {name:?}{meant}"));
            continue;
        }
        match one(&name, value) {
            Ok(said) => settings = settings.or(said),
            Err(reason) => problems.push(format!("{path}: {reason}")),
        }
    }
    settings
}

/// The setting of one line.
fn one(name: &str, value: Value) -> Result<Settings, String> {
    let table = Table::from_iter([(name.to_owned(), value)]);
    unfit::read("setting", table).map_err(|unfit| unfit.told)
}
