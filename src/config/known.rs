//! Suggestions for unknown names in the settings file and in the environment.

use std::cell::RefCell;
use std::collections::BTreeSet;

use clap::{Args as _, Command};

use super::{Config, Settings};

/// The prefix of our variables.
const PREFIX: &str = "COUNTERSIGN_";
/// Variables that are not settings: of commands, builds and deployments.
const OTHERS: [&str; 5] = [
    "COUNTERSIGN_SERVER",
    "COUNTERSIGN_TOKEN",
    "COUNTERSIGN_COMMIT",
    "COUNTERSIGN_OPERATOR_ADDRESS",
    "COUNTERSIGN_ROLE",
];
/// The similarity from which a name is suggested, from 0 to 1.
const ALIKE: f64 = 0.7;

/// The names of the settings, as flags and in the file.
pub(super) fn settings() -> BTreeSet<String> {
    let command = Settings::augment_args(Command::new("settings"));
    let names = command.get_arguments().filter_map(|flag| flag.get_long());
    names
        .filter(|name| *name != "config")
        .map(str::to_owned)
        .collect()
}

/// The one of `names` that is most similar to `name`, if any is similar.
pub(super) fn meant<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let alike = names.map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    let best = alike.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(alike, _)| *alike >= ALIKE)
        .map(|(_, name)| name)
}

/// Reports each unknown variable with our prefix, and suggests a known one. What container
/// platforms add for a service named countersign is ignored.
pub(crate) fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let asked = RefCell::new(BTreeSet::from(OTHERS.map(str::to_owned)));
    let listener = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        None
    };
    // Called to collect the names; the values do not matter.
    let _ = Config::resolve(&Settings::default(), listener);
    let known = asked.into_inner();
    let wrong = names.filter(|name| {
        name.starts_with(PREFIX) && !known.contains(name) && !is_of_a_platform(name)
    });
    let told = wrong.map(|name| {
        let ours = known.iter().filter_map(|name| name.strip_prefix(PREFIX));
        let meant = meant(name.trim_start_matches(PREFIX), ours);
        let meant = meant.map_or_else(String::new, |meant| {
            format!(": did you mean {PREFIX}{meant}?")
        });
        format!("there is no variable {name}{meant}")
    });
    told.collect()
}

/// Whether Kubernetes, or Docker's links, set a variable like this for a service.
fn is_of_a_platform(name: &str) -> bool {
    let has_number = name
        .split("_PORT_")
        .nth(1)
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || has_number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(names: &[&str]) -> Vec<String> {
        unknown_variables(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn a_misspelt_variable_is_reported_with_what_was_meant() {
        assert_eq!(
            told(&["COUNTERSIGN_APPROVAL_TIMOUT", "COUNTERSIGN_LISTN"]),
            [
                "there is no variable COUNTERSIGN_APPROVAL_TIMOUT: did you mean \
                 COUNTERSIGN_APPROVAL_TIMEOUT?",
                "there is no variable COUNTERSIGN_LISTN: did you mean COUNTERSIGN_LISTEN?",
            ]
        );
        assert_eq!(
            told(&["COUNTERSIGN_XYZZY"]),
            ["there is no variable COUNTERSIGN_XYZZY"]
        );
    }

    #[test]
    fn variables_that_are_known_or_a_platforms_are_let_pass() {
        let flags = settings();
        let flags = flags.iter().filter(|flag| !flag.starts_with("key-vault-"));
        let of_flags =
            flags.map(|flag| format!("{PREFIX}{}", flag.to_uppercase().replace('-', "_")));
        let names: Vec<String> = of_flags.collect();
        assert_eq!(unknown_variables(names.into_iter()), [""; 0]);
        assert_eq!(
            told(&[
                "COUNTERSIGN_CONFIG",
                "COUNTERSIGN_TOKEN",
                "COUNTERSIGN_ADMIN_TOKEN",
                "COUNTERSIGN_SERVICE_HOST",
                "COUNTERSIGN_SERVICE_PORT_HTTP",
                "COUNTERSIGN_PORT",
                "COUNTERSIGN_PORT_7071_TCP_ADDR",
                "COUNTERSIGN_FRONT_DOOR_PORT_7071_TCP",
                "PATH",
            ]),
            [""; 0]
        );
    }
}
