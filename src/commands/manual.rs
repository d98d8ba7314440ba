//! The program's own documentation: `countersign completions`, `man` and `licenses`.

use std::fs;
use std::io;

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
    match &args.output {
        None => {
            output::bytes(&page(command()).map_err(Fault::failed)?);
            Ok(())
        }
        Some(folder) => {
            let wrong = |error: io::Error| {
                let folder = folder.display();
                Fault::new(Exit::Failed, format!("cannot write to {folder}: {error}"))
            };
            fs::create_dir_all(folder).map_err(wrong)?;
            // A page for the program, and one for each command and its parts.
            clap_mangen::generate_to(command(), folder).map_err(wrong)
        }
    }
}

pub(super) fn licenses() -> Outcome {
    output::bytes(format!("{OWN_LICENSE}\n{THIRD_PARTY}").as_bytes());
    Ok(())
}

fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    let mut written = Vec::new();
    clap_mangen::Man::new(command)
        .section(SECTION)
        .render(&mut written)?;
    Ok(written)
}
