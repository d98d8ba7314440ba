//! Documents lead where they say, and their commands are ones that the programs know.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::files;

/// One line of a document outside of its code blocks, without what stands between backticks.
fn prose(text: &str) -> Vec<String> {
    let mut in_code = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            let outside = line.split('`').step_by(2);
            lines.push(outside.collect::<Vec<_>>().join(" "));
        }
    }
    lines
}

/// The targets of the links in a document.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        for (_, rest) in line
            .match_indices("](")
            .map(|(at, _)| line.split_at(at + 2))
        {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            found.push(target.to_owned());
        }
        // [name]: target
        let named = line
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "));
        found.extend(named.map(|(_, target)| target.trim().to_owned()));
    }
    found
}

/// The anchors that a document's headings have at the code host.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let heading = line.trim_start_matches('#');
        if in_code || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let anchor: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                c => c.is_alphanumeric().then_some(c),
            })
            .collect();
        let numbered = (1..).map(|number| format!("{anchor}-{number}"));
        let mut names = std::iter::once(anchor.clone()).chain(numbered);
        found.extend(names.find(|name| !found.contains(name)));
    }
    found
}

/// A path without its steps back.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    let mut seen = 0;
    let mut broken = Vec::new();
    for document in files::all("md") {
        let text = files::read(&document);
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link.as_str(), ""));
            let folder = document.parent().unwrap_or(Path::new(""));
            let target = match path {
                "" => document.clone(),
                path => plain(&folder.join(path)),
            };
            let leads = files::root().join(&target).exists()
                && (anchor.is_empty()
                    || target.extension().is_none_or(|kind| kind != "md")
                    || anchors(&files::read(&target)).contains(anchor));
            if !leads {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    assert!(seen > 50, "only {seen} links were found");
}

/// The lines of shell that a document shows, each with the lines that continue it.
fn shell(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut kind = None;
    let mut continued = false;
    for line in text.lines() {
        let line = line.trim();
        if let Some(fence) = line.strip_prefix("```") {
            kind = match kind {
                Some(_) => None,
                None => Some(fence.to_owned()),
            };
            continued = false;
            continue;
        }
        let typed = match kind.as_deref() {
            Some("sh" | "bash" | "shell") => Some(line),
            // What has no prompt is what the command prints.
            Some("console") if continued => Some(line),
            Some("console") => line.strip_prefix("$ "),
            _ => None,
        };
        let Some(typed) = typed else { continue };
        let more = typed.strip_suffix('\\');
        let part = more.unwrap_or(typed);
        match lines.last_mut().filter(|_| continued) {
            Some(last) => last.push_str(part),
            None => lines.push(part.to_owned()),
        }
        continued = more.is_some();
    }
    lines
}

/// The commands of a line, each as words. What a shell replaces stays as it is.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut depth = 0;
    let mut chars = line.chars().peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        let plain = quote.is_none() && depth == 0;
        match c {
            '#' if plain && word.is_none() => break,
            '\'' | '"' if depth == 0 && quote.is_none_or(|open| open == c) => {
                quote = quote.is_none().then_some(c);
                word.get_or_insert_default();
            }
            '(' if before == '$' || depth > 0 => {
                depth += 1;
                word.get_or_insert_default().push(c);
            }
            ')' if depth > 0 => {
                depth -= 1;
                word.get_or_insert_default().push(c);
            }
            '|' | '&' | ';' if plain => {
                let words = commands.last_mut().expect("there is one");
                words.extend(word.take());
                commands.push(Vec::new());
            }
            c if plain && c.is_whitespace() => {
                let words = commands.last_mut().expect("there is one");
                words.extend(word.take());
            }
            c => word.get_or_insert_default().push(c),
        }
        before = c;
    }
    commands.last_mut().expect("there is one").extend(word);
    commands
}

/// The words of a command that go to one of the programs here, with the program's name; none
/// if it starts something else.
fn for_program(words: &[String]) -> Option<(&'static str, Vec<&str>)> {
    let is_set = |word: &String| {
        let name = word.split_once('=').map(|(name, _)| name);
        name.is_some_and(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
    };
    let mut words = words
        .iter()
        .skip_while(|word| is_set(word))
        .map(String::as_str);
    let first = words.next()?;
    let program = match first.rsplit('/').next()? {
        "countersign" => "countersign",
        "durabletask-scheduler" => "durabletask-scheduler",
        _ => return None,
    };
    // Where its output goes is the shell's business.
    let words = words.take_while(|word| !word.starts_with(['>', '<']) && !word.starts_with("2>"));
    Some((program, words.collect()))
}

/// What a program says of words that it does not know; nothing if it knows them.
fn complaint(program: &str, words: &[&str]) -> Option<String> {
    let line = std::iter::once(program).chain(words.iter().copied());
    let error = match program {
        "countersign" => countersign::cli::Cli::try_parse_from(line).err(),
        _ => durabletask_scheduler_cli::Cli::try_parse_from(line).err(),
    }?;
    let fine = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion];
    (!fine.contains(&error.kind())).then(|| error.to_string())
}

#[test]
fn every_command_in_a_document_is_one_that_the_program_knows() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for document in files::all("md") {
        for line in shell(&files::read(&document)) {
            for command in commands(&line) {
                let Some((program, words)) = for_program(&command) else {
                    continue;
                };
                seen += 1;
                if let Some(complaint) = complaint(program, &words) {
                    wrong.push(format!("{}: {line}\n{complaint}", document.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "commands:\n{}", wrong.join("\n"));
    assert!(seen > 20, "only {seen} commands were found");
}

#[test]
fn shell_is_read_as_a_shell_reads_it() {
    let text = "```console\n$ a=1 ./bin/countersign key create \"one two\" \\\n  --role reader > out\n\
                printed | not\n```\ncountersign no command\n```sh\nx & countersign serve # y\n```\n";
    let read: Vec<(&str, Vec<String>)> = shell(text)
        .iter()
        .flat_map(|line| commands(line))
        .filter_map(|words| {
            let (program, words) = for_program(&words)?;
            Some((program, words.into_iter().map(str::to_owned).collect()))
        })
        .collect();
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        read,
        [
            (
                "countersign",
                words(&["key", "create", "one two", "--role", "reader"])
            ),
            ("countersign", words(&["serve"])),
        ]
    );
    assert!(complaint("countersign", &["serve", "--no-such-flag"]).is_some());
    assert!(complaint("durabletask-scheduler", &["--help"]).is_none());
}
