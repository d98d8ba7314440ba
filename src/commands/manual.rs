//! The program's own documentation: `countersign completions`, `man` and `licenses`.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

use super::{Exit, Fault, Outcome, output};
use crate::cli::{CompletionsArgs, ManArgs, command};

/// The section of manuals that commands are in.
const SECTION: &str = "1";
/// The license of Countersign.
const OWN_LICENSE: &str = include_str!("../../LICENSE");
/// The licenses of the packages in it, as `deploy/supply/inventory licenses` collects them.
const THIRD_PARTY: &str = include_str!("../../licenses/THIRD-PARTY.txt");

pub(super) fn completions(args: &CompletionsArgs) -> Outcome {
    let mut written = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "countersign", &mut written);
    output::bytes(&written);
    Ok(())
}

pub(super) fn man(args: &ManArgs) -> Outcome {
    let mut program = command().disable_help_subcommand(true);
    // Names of commands and of their parts, as in `countersign-key-create`.
    program.build();
    let version = program.get_version().unwrap_or_default().to_owned();
    match &args.output {
        None => {
            output::bytes(&page(&program, &version).map_err(Fault::failed)?);
            Ok(())
        }
        Some(folder) => {
            let wrong = |error: io::Error| {
                let folder = folder.display();
                Fault::new(Exit::Failed, format!("cannot write to {folder}: {error}"))
            };
            fs::create_dir_all(folder).map_err(wrong)?;
            write_pages(&program, &version, folder).map_err(wrong)
        }
    }
}

/// A page for a command, and for each of its parts.
fn write_pages(command: &Command, version: &str, folder: &Path) -> io::Result<()> {
    for part in command.get_subcommands().filter(|part| !part.is_hide_set()) {
        write_pages(part, version, folder)?;
    }
    let name = command.get_display_name().unwrap_or(command.get_name());
    let file = folder.join(format!("{name}.{SECTION}"));
    fs::write(file, page(command, version)?)
}

fn page(command: &Command, version: &str) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let manual = Man::new(command.clone())
        .section(SECTION)
        .source(format!("countersign {version}"))
        .manual("Countersign");
    manual.render_title(&mut page)?;
    manual.render_name_section(&mut page)?;
    manual.render_synopsis_section(&mut page)?;
    manual.render_description_section(&mut page)?;
    manual.render_options_section(&mut page)?;
    if command.has_subcommands() {
        manual.render_subcommands_section(&mut page)?;
    }
    if let Some(more) = command.get_after_help() {
        page.extend(rest(&more.to_string()).into_bytes());
    }
    page.extend(format!(".SH VERSION\n{}\n", literal(version)).into_bytes());
    Ok(page)
}

/// What stands below the options in the help: examples and exit codes, as they are. The commands,
/// which the program's own help lists there in groups, have a section already.
fn rest(text: &str) -> String {
    let mut page = String::new();
    let mut open = false;
    for line in text.lines() {
        let heading = match line {
            "Examples:" => Some("EXAMPLES"),
            "Exit codes:" => Some("EXIT STATUS"),
            _ => None,
        };
        if let Some(heading) = heading {
            page.push_str(if open { ".fi\n" } else { "" });
            page.push_str(&format!(".SH {heading}\n.nf\n"));
            open = true;
        } else if open {
            page.push_str(&format!("{}\n", literal(line)));
        }
    }
    page.push_str(if open { ".fi\n" } else { "" });
    page
}

/// A line as it is, in a language in which some characters have a meaning.
fn literal(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line,
    }
}

pub(super) fn licenses() -> Outcome {
    output::bytes(format!("{OWN_LICENSE}\n{THIRD_PARTY}").as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_version_and_headings_that_manuals_have() {
        let folder = tempfile::tempdir().unwrap();
        let args = ManArgs {
            output: Some(folder.path().to_owned()),
        };
        assert!(man(&args).is_ok());
        let version = literal(command().get_version().unwrap());
        let mut seen = 0;
        for entry in fs::read_dir(folder.path()).unwrap() {
            let page = fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(
                page.contains(&format!(".SH VERSION\n{version}\n")),
                "{page}"
            );
            assert!(!page.contains("EXTRA"), "{page}");
            seen += 1;
        }
        assert!(seen > 40, "{seen}");
        let token = fs::read_to_string(folder.path().join("countersign-token.1")).unwrap();
        for part in [
            ".SH EXAMPLES\n.nf\n  countersign token GitHub",
            ".SH EXIT STATUS",
            "countersign\\-token",
        ] {
            assert!(token.contains(part), "{part}: {token}");
        }
        assert!(folder.path().join("countersign-key-create.1").exists());
    }
}
