//! The help: commands and settings in groups, with examples and exit codes.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};

use super::{Cli, EXIT_CODES, WIDTH};

/// `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for a page of each command, such as ~/.local/share/man/man1
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Every command in its group.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "Accounts and codes",
        &[
            "enroll",
            "import",
            "list",
            "token",
            "verify",
            "prove",
            "rename",
            "group",
            "tag",
            "remove",
            "restore",
            "recovery-codes",
        ],
    ),
    (
        "Approvals and requests",
        &[
            "status", "approve", "reject", "cancel", "request", "export", "guard", "receive",
            "seal-key",
        ],
    ),
    (
        "Access",
        &[
            "key",
            "grant",
            "login-link",
            "audit",
            "ledger",
            "mandate-key",
            "rotate",
        ],
    ),
    (
        "Running",
        &[
            "serve",
            "front-door",
            "worker",
            "scheduler",
            "backup",
            "migrate",
            "config",
            "health",
            "dashboard",
        ],
    ),
    (
        "For programs and shells",
        &["mcp", "openapi", "completions", "man", "licenses"],
    ),
];

/// Examples of a command.
const EXAMPLES: [(&str, &str); 30] = [
    (
        "rotate",
        "  countersign rotate vault-key\n  countersign rotate admin-token --overlap 1h",
    ),
    (
        "migrate",
        "  countersign migrate to-database --data-dir /var/lib/countersign\n  countersign migrate to-folder --data-dir /var/lib/countersign\n  countersign migrate schema --grant-to countersign-front-door,countersign-worker",
    ),
    (
        "backup",
        "  countersign backup create today.age --recipient age1...\n  countersign backup verify today.age --identity countersign-backup.key\n  countersign backup restore today.age --identity countersign-backup.key --data-dir /srv/new",
    ),
    (
        "enroll",
        "  countersign enroll qr.png\n  countersign enroll - < uri.txt\n  countersign enroll qr.png --approval required --proof",
    ),
    (
        "import",
        "  countersign import aegis-export.json --password-file password.txt --dry-run\n  countersign import part-1.png part-2.png --pick 1-4",
    ),
    (
        "list",
        "  countersign list --search github\n  countersign list --removed\n  countersign list --enrollments --stage AwaitingApproval",
    ),
    (
        "token",
        "  countersign token GitHub\n  countersign token 'GitHub: octo' --min-validity 10\n  countersign token totp-0f8b --copy",
    ),
    (
        "recovery-codes",
        "  countersign recovery-codes set codes.txt GitHub\n  countersign recovery-codes count GitHub\n  countersign recovery-codes take GitHub",
    ),
    (
        "verify",
        "  countersign verify GitHub 123456\n  echo 123456 | countersign verify GitHub -",
    ),
    (
        "prove",
        "  countersign prove GitHub\n  countersign prove GitHub --accepted 123456 654321",
    ),
    (
        "rename",
        "  countersign rename GitHub octocat\n  countersign rename totp-0f8b --issuer GitHub",
    ),
    (
        "group",
        "  countersign group GitHub 'Build servers'\n  countersign group GitHub",
    ),
    (
        "tag",
        "  countersign tag GitHub ci prod\n  countersign tag GitHub --remove ci",
    ),
    ("remove", "  countersign remove GitHub"),
    (
        "restore",
        "  countersign list --removed\n  countersign restore GitHub",
    ),
    (
        "status",
        "  countersign status totp-0f8b --wait\n  countersign status request-2c41 --follow",
    ),
    (
        "approve",
        "  countersign list --enrollments --stage AwaitingApproval\n  countersign approve totp-0f8b --comment 'seen on the shared screen'",
    ),
    (
        "reject",
        "  countersign reject totp-0f8b --comment 'not ours'",
    ),
    ("cancel", "  countersign cancel request-2c41"),
    (
        "request",
        "  countersign request read GitHub --reads 3 --for 1h --reason 'release 2.1'\n  countersign request export GitHub",
    ),
    ("export", "  countersign export request-2c41 --format qr"),
    (
        "guard",
        "  countersign guard GitHub\n  countersign guard GitHub --off",
    ),
    (
        "key",
        "  countersign key create ci --role reader --granted-only --expires 30d\n  countersign key revoke ci",
    ),
    (
        "grant",
        "  countersign grant add ci totp-0f8b... --for 8h --reads 5",
    ),
    (
        "audit",
        "  countersign audit verify\n  countersign audit export --format cef",
    ),
    (
        "serve",
        "  countersign serve\n  countersign serve --listen 0.0.0.0:7071 --tls-certificate cert.pem --tls-key key.pem",
    ),
    (
        "front-door",
        "  countersign front-door --hub-endpoint http://127.0.0.1:8080",
    ),
    ("mcp", "  countersign mcp --token-file agent-key"),
    (
        "completions",
        "  countersign completions bash > ~/.local/share/bash-completion/completions/countersign\n  countersign completions zsh > ~/.zfunc/_countersign",
    ),
    (
        "man",
        "  countersign man | man -l -\n  countersign man --output ~/.local/share/man/man1",
    ),
];

/// The settings that parts without an embedded scheduler do not have.
const OF_THE_SCHEDULER: [&str; 2] = ["scheduler_listen", "dashboard_listen"];

/// The command line, with its help in groups.
#[must_use]
pub fn command() -> Command {
    let mut command = Cli::command();
    for name in ["serve", "front-door", "worker"] {
        command = command.mut_subcommand(name, |part| {
            part.mut_args(|argument| {
                let id = argument.get_id().as_str();
                let idle = name != "serve" && OF_THE_SCHEDULER.contains(&id);
                let hidden = idle || argument.is_hide_set();
                let heading = heading(id);
                argument.help_heading(heading).hide(hidden)
            })
        });
    }
    for (name, examples) in EXAMPLES {
        command = command.mut_subcommand(name, |part| {
            part.after_help(format!("Examples:\n{examples}"))
        });
    }
    command = with_exit_codes(command);
    let groups = groups(&command);
    command
        .subcommand_value_name("COMMAND")
        .help_template(
            "{about-with-newline}\n{usage-heading} {usage}{after-help}\n\nOptions:\n{options}\n",
        )
        .after_help(format!(
            "{groups}Settings come from flags, COUNTERSIGN_ variables and a file, in this order. \
             `countersign help COMMAND` prints the details.\n\n{EXIT_CODES}"
        ))
}

/// The same with the exit codes at the end of the help of every command within it.
fn with_exit_codes(mut command: Command) -> Command {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|part| part.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, |part| {
            let own = part.get_after_help().map(ToString::to_string);
            let text = own.map_or_else(
                || EXIT_CODES.to_owned(),
                |own| format!("{own}\n\n{EXIT_CODES}"),
            );
            with_exit_codes(part.after_help(text))
        });
    }
    command
}

/// The commands with what each does, group by group.
fn groups(command: &Command) -> String {
    let width = command
        .get_subcommands()
        .map(|part| part.get_name().len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (heading, names) in GROUPS {
        text.push_str(&format!("{heading}:\n"));
        for part in names
            .iter()
            .filter_map(|name| command.find_subcommand(name))
        {
            let about = part
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            let about = hanging(&about, width + 4);
            text.push_str(&format!("  {:<width$}  {about}\n", part.get_name()));
        }
        text.push('\n');
    }
    text
}

/// A text over as many lines as it takes, of which all but the first begin at `column`.
fn hanging(text: &str, column: usize) -> String {
    let mut lines = String::new();
    let mut at = column;
    for (number, word) in text.split_whitespace().enumerate() {
        let length = word.chars().count();
        if number > 0 && at + 1 + length > WIDTH {
            lines.push_str(&format!("\n{:column$}", ""));
            at = column;
        } else if number > 0 {
            lines.push(' ');
            at += 1;
        }
        lines.push_str(word);
        at += length;
    }
    lines
}

/// The heading of a setting; the usual one if none.
fn heading(id: &str) -> Option<&'static str> {
    let begins = |with: &[&str]| with.iter().any(|start| id.starts_with(start));
    let heading = if begins(&["oidc"]) {
        "Tokens of an OpenID Connect issuer"
    } else if begins(&["key_vault", "keys_vault", "vault_key", "azure"]) {
        "Azure"
    } else if begins(&[
        "approv",
        "require_",
        "request_approvals",
        "webhook",
        "dashboard_approvals",
    ]) {
        "Approvals and notices"
    } else if begins(&[
        "max_",
        "rate_",
        "concurrency_",
        "header_timeout",
        "body_timeout",
    ]) {
        "Limits"
    } else if begins(&[
        "listen",
        "scheduler_",
        "dashboard_",
        "metrics_",
        "tls_",
        "trusted_",
        "cors_",
        "public_",
        "instance_link",
    ]) {
        "Addresses and TLS"
    } else if begins(&[
        "task_hub",
        "connection_string",
        "hub_endpoint",
        "worker_wait",
    ]) {
        "Task hub"
    } else if begins(&["token_", "lock_memory"]) {
        "Memory"
    } else if begins(&["log", "otlp"]) {
        "Logs and traces"
    } else {
        return None;
    };
    Some(heading)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_command_is_in_one_group_and_says_how_it_is_used() {
        let grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        let once: BTreeSet<&str> = grouped.iter().copied().collect();
        assert_eq!(once.len(), grouped.len());
        let command = command();
        let there: BTreeSet<&str> = command.get_subcommands().map(Command::get_name).collect();
        assert_eq!(once, there);
        for (name, _) in EXAMPLES {
            assert!(there.contains(name), "{name}");
        }
        let mut shown = command.clone();
        let help = shown.render_long_help().to_string();
        for (heading, _) in GROUPS {
            assert!(help.contains(heading), "{heading}: {help}");
        }
        let serve = command.find_subcommand("serve").unwrap();
        let help = serve.clone().render_help().to_string();
        for heading in ["Azure:", "Limits:", "Addresses and TLS:", "Examples:"] {
            assert!(help.contains(heading), "{heading}: {help}");
        }
        let door = command.find_subcommand("front-door").unwrap();
        assert!(
            !door
                .clone()
                .render_help()
                .to_string()
                .contains("--scheduler-listen")
        );
    }

    #[test]
    fn every_example_is_a_valid_command_line() {
        for (name, examples) in EXAMPLES {
            for line in examples.lines() {
                let call = line.split(['<', '>']).next().unwrap();
                let call = call
                    .split(" | ")
                    .find(|part| part.contains("countersign "))
                    .unwrap();
                // Quoted arguments may contain spaces.
                let mut words = Vec::new();
                for (n, part) in call.split('\'').enumerate() {
                    match n % 2 {
                        0 => words.extend(part.split_whitespace()),
                        _ => words.push(part),
                    }
                }
                let parsed = command().try_get_matches_from(words);
                assert!(parsed.is_ok(), "{name}: {line}: {:?}", parsed.err());
            }
        }
    }
}
