//! The README tells the whole command line, and docs/AUDIT.md the whole record, and neither
//! anything that is not there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use clap::{CommandFactory as _, ValueEnum as _};
use countersign::audit::Action;
use countersign::cli::Cli;
use countersign::config::{Config, Settings};

const README: &str = include_str!("../README.md");
const AUDIT: &str = include_str!("../docs/AUDIT.md");

/// The rows of the README's table under `heading` whose header starts with `first`, as cells.
fn table(heading: &str, first: &str) -> Vec<Vec<String>> {
    table_of(README, heading, first)
}

/// The same of another document.
fn table_of(document: &str, heading: &str, first: &str) -> Vec<Vec<String>> {
    let section = document
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .unwrap_or_else(|| panic!("there is a section {heading:?}"));
    let rows: Vec<Vec<String>> = section
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {first}")))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let line = line.replace("\\|", "\u{1}");
            let cells = line.trim_matches('|').split('|');
            cells
                .map(|cell| cell.trim().replace('\u{1}', "|"))
                .collect()
        })
        .collect();
    assert!(!rows.is_empty(), "{heading:?} has a table {first:?}");
    rows
}

/// What stands between backticks in a cell.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_setting_is_in_the_configuration_table_with_its_variable_and_default() {
    let command = <Settings as clap::Args>::augment_args(clap::Command::new("settings"));
    let rows = table("Configuration", "Flag");
    let told: BTreeMap<&str, &Vec<String>> = rows
        .iter()
        .filter_map(|row| {
            let flag = code(&row[0]).first()?.strip_prefix("--")?;
            Some((flag.split(' ').next()?, row))
        })
        .collect();
    let shown = || command.get_arguments().filter(|each| !each.is_hide_set());
    let exist: BTreeSet<&str> = shown().filter_map(clap::Arg::get_long).collect();
    assert_eq!(
        told.keys().copied().collect::<BTreeSet<_>>(),
        exist,
        "the README's flags and the program's"
    );

    for argument in shown() {
        let flag = argument.get_long().unwrap();
        let help = argument.get_help().unwrap().to_string();
        let row = told[flag];
        let variables = code(&row[1]);
        assert!(!variables.is_empty(), "{flag}: the row names its variable");
        for variable in variables {
            assert!(help.contains(variable), "{flag}: {help:?} names {variable}");
        }
        if let Some((_, default)) = help.split_once("[default: ") {
            let default = default.trim_end_matches(']');
            assert_eq!(code(&row[2]), [default], "{flag}: the default");
        }
    }
}

#[test]
fn the_sample_file_is_a_valid_configuration() {
    let sample = README
        .split_once("```toml\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .expect("the README has a sample file")
        .0;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("countersign.toml");
    std::fs::write(&file, sample).unwrap();
    let flags = Settings {
        config: Some(file.to_string_lossy().into_owned()),
        ..Settings::default()
    };
    let config = Config::resolve(&flags, |_| None).unwrap();
    assert!(config.require_approval);
    assert_eq!(config.approval_timeout.as_secs(), 12 * 3600);
}

#[test]
fn every_command_is_in_the_command_table() {
    let told: BTreeSet<String> = table("The command line", "Command")
        .iter()
        .flat_map(|row| {
            code(&row[0])
                .into_iter()
                .filter_map(|call| call.strip_prefix("countersign "))
                .map(|call| call.split(' ').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    let exist: BTreeSet<String> = Cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    assert_eq!(told, exist);
}

#[test]
fn the_exit_codes_are_those_of_the_help() {
    let told: Vec<(String, String)> = table("The command line", "Exit code")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let help = Cli::command().get_after_help().unwrap().to_string();
    let exist: Vec<(String, String)> = help
        .lines()
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(code, meaning)| (code.to_owned(), meaning.to_owned()))
        .collect();
    assert_eq!(told, exist);
}

/// What stands between backticks in the first column of a table of docs/AUDIT.md.
fn recorded(heading: &str, first: &str) -> BTreeSet<String> {
    let rows = table_of(AUDIT, heading, first);
    let names = rows.iter().flat_map(|row| code(&row[0]));
    names.map(str::to_owned).collect()
}

#[test]
fn every_action_and_field_of_the_audit_record_is_told() {
    let actions: BTreeSet<String> = Action::value_variants()
        .iter()
        .map(|action| action.as_str().to_owned())
        .collect();
    assert_eq!(recorded("What is recorded", "Action"), actions);

    let description = countersign::http::openapi().unwrap();
    let schemas = &description["components"]["schemas"];
    let fields: BTreeSet<String> = [&schemas["Event"], &schemas["Entry"]["allOf"][1]]
        .into_iter()
        .flat_map(|schema| schema["properties"].as_object().unwrap().keys())
        .cloned()
        .collect();
    assert_eq!(recorded("Read it", "Field"), fields);
}
