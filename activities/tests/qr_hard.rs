//! What cameras, screens, paper and light do to a code: how much of it is read, by kind, in what
//! time, and that nothing is read wrong. `.ci/long pictures` prints it all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod drawn;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use countersign_activities::images::ReadLimits;
use countersign_activities::qr;
use drawn::hard::{Hard, OF_EACH, hard};

/// How many of each kind are read at least, of every fourth (three of each) and of all
/// twelve. The worst of each are
/// meant to be out of reach.
const READ: [(&str, usize, usize); 36] = [
    ("perspective", 3, 12),
    ("screen-moire", 3, 12),
    ("glare", 2, 7),
    ("curved", 2, 9),
    ("defocus", 3, 10),
    ("motion", 3, 12),
    ("noise", 3, 12),
    ("dark-theme", 3, 12),
    ("tiny", 3, 11),
    ("huge", 3, 12),
    ("low-contrast", 3, 11),
    ("uneven-light", 3, 12),
    ("crumpled", 2, 10),
    ("halftone", 3, 12),
    ("cut", 2, 6),
    ("covered", 3, 9),
    ("screen-photo", 3, 11),
    ("paper-photo", 3, 11),
    ("low-light", 3, 11),
    ("colours", 3, 12),
    ("jpeg", 3, 12),
    ("logo", 3, 10),
    ("rounded", 3, 12),
    ("turned", 3, 12),
    ("mirrored", 3, 12),
    ("several", 3, 12),
    ("dense", 3, 12),
    ("folded", 3, 11),
    ("no-border", 3, 11),
    ("reflection", 2, 5),
    ("flicker", 3, 10),
    ("overexposed", 2, 7),
    ("fax", 3, 11),
    ("resent", 3, 12),
    ("far-away", 3, 12),
    ("bottle", 2, 9),
];

/// What became of one image.
struct Outcome {
    kind: &'static str,
    number: usize,
    is_read: bool,
    took: Duration,
}

/// Reads an image. Whatever is read is what its codes say, and what is read whole leaves nothing
/// unread.
fn outcome(hard: &Hard, limits: &ReadLimits) -> Outcome {
    let start = Instant::now();
    let reading = qr::examine(&hard.bytes, limits).unwrap();
    let took = start.elapsed();
    let (kind, number) = (hard.kind, hard.number);
    for payload in &reading.payloads {
        let is_right = hard.texts.iter().any(|text| text == payload.expose());
        assert!(is_right, "{kind} {number} is read wrong");
    }
    let is_read = reading.payloads.len() == hard.texts.len();
    assert!(
        !is_read || reading.unread.is_empty(),
        "{kind} {number} has no other code: {:?}",
        reading.unread
    );
    Outcome {
        kind,
        number,
        is_read,
        took,
    }
}

fn read_of<'a>(outcomes: &'a [Outcome], kind: &'a str) -> impl Iterator<Item = &'a Outcome> {
    outcomes.iter().filter(move |it| it.kind == kind)
}

#[test]
fn every_fourth_hard_image_is_read_by_kind_and_none_wrong() {
    // What is measured here is what can be read, whatever else the machine does.
    let limits = ReadLimits {
        deadline: Duration::from_secs(20),
        ..ReadLimits::default()
    };
    let outcomes: Vec<Outcome> = hard(4).map(|it| outcome(&it, &limits)).collect();
    assert_eq!(outcomes.len(), READ.len() * OF_EACH / 4);
    for (kind, least, _) in READ {
        let read = read_of(&outcomes, kind).filter(|it| it.is_read).count();
        assert!(read >= least, "{kind}: {read} of {least}");
    }
}

/// All of them under the limits that an upload has. With `PICTURES_DIR` they are written there, to
/// try other decoders on them.
#[test]
#[ignore = "long: .ci/long pictures"]
fn all_hard_images_are_read_by_kind_in_time_and_none_wrong() {
    let folder = std::env::var_os("PICTURES_DIR").map(PathBuf::from);
    let limits = ReadLimits::default();
    let mut outcomes = Vec::new();
    for hard in hard(1) {
        if let Some(folder) = &folder {
            let name = format!("{}-{:02}", hard.kind, hard.number);
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(
                folder.join(format!("{name}.{}", hard.extension())),
                &hard.bytes,
            )
            .unwrap();
            std::fs::write(folder.join(format!("{name}.txt")), hard.texts.join("\n")).unwrap();
        }
        outcomes.push(outcome(&hard, &limits));
    }
    let mut times: Vec<Duration> = outcomes.iter().map(|it| it.took).collect();
    times.sort_unstable();
    for (kind, ..) in READ {
        let steps: String = read_of(&outcomes, kind)
            .map(|it| if it.is_read { '#' } else { '.' })
            .collect();
        let read = steps.matches('#').count();
        let longest = read_of(&outcomes, kind).max_by_key(|it| it.took).unwrap();
        println!(
            "{kind:<13} {read:>2} of {OF_EACH}  {steps}  longest {:.0?} (number {})",
            longest.took, longest.number
        );
    }
    let read = outcomes.iter().filter(|it| it.is_read).count();
    let count = times.len();
    let longest = times[count - 1];
    println!(
        "all          {read:>3} of {count}, median {:.1?}, longest {longest:.0?}, none wrong",
        times[count / 2]
    );
    assert_eq!(count, READ.len() * OF_EACH);
    assert!(longest < Duration::from_millis(1_500), "{longest:?}");
    for (kind, _, least) in READ {
        let read = read_of(&outcomes, kind).filter(|it| it.is_read).count();
        assert!(read >= least, "{kind}: {read} of {least}");
    }
}
