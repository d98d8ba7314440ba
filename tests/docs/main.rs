//! The documents say what the program does: every setting, command, exit code and audit entry is
//! in them, with nothing that does not exist; their commands and settings parse; their links lead
//! somewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod language;
mod markdown;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use clap::{CommandFactory as _, ValueEnum as _};
use countersign::audit::Action;
use countersign::cli::Cli;
use countersign::config::{Config, Settings};

use markdown::{anchors, blocks, commands, documents, links, root, words};

const CONFIGURATION: &str = include_str!("../../docs/CONFIGURATION.md");
const CLI: &str = include_str!("../../docs/CLI.md");
const AUDIT: &str = include_str!("../../docs/AUDIT.md");

/// The rows of the table under `heading` whose header starts with `first`, as cells.
fn table(document: &str, heading: &str, first: &str) -> Vec<Vec<String>> {
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
    let rows = table(CONFIGURATION, "Settings", "Flag");
    let documented: BTreeMap<&str, &Vec<String>> = rows
        .iter()
        .filter_map(|row| {
            let flag = code(&row[0]).first()?.strip_prefix("--")?;
            Some((flag.split(' ').next()?, row))
        })
        .collect();
    let shown = || command.get_arguments().filter(|each| !each.is_hide_set());
    let exist: BTreeSet<&str> = shown().filter_map(clap::Arg::get_long).collect();
    assert_eq!(
        documented.keys().copied().collect::<BTreeSet<_>>(),
        exist,
        "the flags of the document and of the program"
    );

    for argument in shown() {
        let flag = argument.get_long().unwrap();
        let help = argument.get_help().unwrap().to_string();
        let row = documented[flag];
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

/// What [`Config::resolve`] makes of a settings file.
fn resolve(sample: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("countersign.toml");
    fs::write(&file, sample).unwrap();
    let flags = Settings {
        config: Some(file.to_string_lossy().into_owned()),
        ..Settings::default()
    };
    Config::resolve(&flags, |_| None).map_err(|problems| problems.to_string())
}

#[test]
fn every_sample_of_a_settings_file_is_valid() {
    let mut samples = 0;
    for (path, text) in documents() {
        for block in blocks(&text).filter(|block| block.language == "toml") {
            // Manifests of Cargo are TOML too.
            if block.text.starts_with('[') {
                continue;
            }
            if let Err(problem) = resolve(&block.text) {
                panic!("{}: {problem}\n{}", path.display(), block.text);
            }
            samples += 1;
        }
    }
    assert!(samples >= 6, "only {samples} samples were found");

    let sample = blocks(CONFIGURATION).find(|block| block.language == "toml");
    let config = resolve(&sample.expect("there is a sample").text).unwrap();
    assert!(config.require_approval);
    assert_eq!(config.approval_timeout.as_secs(), 12 * 3600);
}

#[test]
fn every_command_is_in_the_command_table() {
    let documented: BTreeSet<String> = table(CLI, "Commands", "Command")
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
    assert_eq!(documented, exist);
}

#[test]
fn the_exit_codes_are_those_of_the_help() {
    let documented: Vec<(String, String)> = table(CLI, "Exit codes", "Exit code")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let help = Cli::command().get_after_help().unwrap().to_string();
    let exist: Vec<(String, String)> = help
        .lines()
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(code, meaning)| (code.to_owned(), meaning.to_owned()))
        .collect();
    assert_eq!(documented, exist);
    let codes = help.split("Exit codes:").last().unwrap().trim_end();
    every_help_ends_with(codes, &countersign::cli::command(), "countersign");
}

fn every_help_ends_with(codes: &str, command: &clap::Command, path: &str) {
    let help = command.get_after_help().map(ToString::to_string);
    let ends = help.is_some_and(|help| help.trim_end().ends_with(codes));
    assert!(ends, "{path} does not show the exit codes");
    for part in command.get_subcommands() {
        every_help_ends_with(codes, part, &format!("{path} {}", part.get_name()));
    }
}

/// What stands between backticks in the first column of a table of docs/AUDIT.md.
fn recorded(heading: &str, first: &str) -> BTreeSet<String> {
    let rows = table(AUDIT, heading, first);
    let names = rows.iter().flat_map(|row| code(&row[0]));
    names.map(str::to_owned).collect()
}

#[test]
fn every_action_and_field_of_the_audit_log_is_documented() {
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

#[test]
fn every_command_in_a_document_parses() {
    let mut parsed = 0;
    for (path, text) in documents() {
        let shell = blocks(&text).filter(|block| ["console", "sh"].contains(&block.language));
        for line in shell.flat_map(|block| commands(&block)) {
            let words = words(&line);
            for call in words.split(|word| ["|", "&", "&&", ";"].contains(&word.as_str())) {
                let is_assignment = |word: &&String| {
                    let name = word.split('=').next().unwrap_or_default();
                    word.contains('=') && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
                };
                let call: Vec<&String> = call.iter().skip_while(is_assignment).collect();
                let program = call.first().map_or("", |word| word.as_str());
                let scheduler = durabletask_scheduler_cli::Cli::command;
                let (command, arguments) = match program.rsplit('/').next() {
                    Some("countersign") => (Cli::command(), &call[1..]),
                    Some("durabletask-scheduler") => (scheduler(), &call[1..]),
                    Some("cargo") if call[1..].starts_with(&[&"run".to_owned()]) => {
                        let Some(end) = call.iter().position(|word| *word == "--") else {
                            continue;
                        };
                        let of_scheduler = call[..end].iter().any(|word| {
                            word.as_str() == "durabletask-scheduler-cli"
                                || word.as_str() == "durabletask-scheduler"
                        });
                        let command = if of_scheduler {
                            scheduler()
                        } else {
                            Cli::command()
                        };
                        (command, &call[end + 1..])
                    }
                    _ => continue,
                };
                let all = std::iter::once(program).chain(arguments.iter().map(|w| w.as_str()));
                if let Err(error) = command.try_get_matches_from(all) {
                    panic!("{}: {line}\n{error}", path.display());
                }
                parsed += 1;
            }
        }
    }
    assert!(parsed > 60, "only {parsed} commands were found");
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut followed = 0;
    for (path, text) in documents() {
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().expect("a document is in a folder").join(file),
            };
            let there = match anchor {
                "" => target.exists(),
                anchor => {
                    fs::read_to_string(&target).is_ok_and(|text| anchors(&text).contains(anchor))
                }
            };
            if !there {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    assert!(followed > 150, "only {followed} links were found");
}

#[test]
fn the_index_lists_every_document() {
    let index = include_str!("../../docs/README.md");
    let listed: BTreeSet<String> = links(index).collect();
    let docs = root().join("docs");
    for (path, _) in documents() {
        let Ok(path) = path.strip_prefix(&docs) else {
            continue;
        };
        let name = path.to_string_lossy().into_owned();
        // Decisions have an index of their own.
        if name == "README.md" || (name.starts_with("decisions/") && !name.ends_with("README.md")) {
            continue;
        }
        assert!(
            listed.contains(&name),
            "docs/README.md does not list {name}"
        );
    }
    let decisions = include_str!("../../docs/decisions/README.md");
    let listed: BTreeSet<String> = links(decisions).collect();
    for entry in fs::read_dir(docs.join("decisions")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(
            name == "README.md" || listed.contains(&name),
            "docs/decisions/README.md does not list {name}"
        );
    }
}
