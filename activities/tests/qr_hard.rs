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

use countersign_activities::picture::ReadLimits;
use countersign_activities::qr;
use drawn::hard::{Hard, OF_EACH, hard};

/// How many of each kind are read at least, of every fourth and of all. The worst of each are
/// meant to be out of reach.
const READ: [(&str, usize, usize); 36] = [
    ("perspective", 0, 12),
    ("screen-moire", 0, 12),
    ("glare", 0, 6),
    ("curved", 0, 7),
    ("defocus", 0, 10),
    ("motion", 0, 12),
    ("noise", 0, 12),
    ("dark-theme", 0, 12),
    ("tiny", 0, 10),
    ("huge", 0, 12),
    ("low-contrast", 0, 11),
    ("uneven-light", 0, 11),
    ("crumpled", 0, 2),
    ("halftone", 0, 9),
    ("cut", 0, 6),
    ("covered", 0, 9),
    ("screen-photo", 0, 0),
    ("paper-photo", 0, 0),
    ("low-light", 0, 0),
    ("colours", 0, 0),
    ("jpeg", 0, 0),
    ("logo", 0, 0),
    ("rounded", 0, 0),
    ("turned", 0, 0),
    ("mirrored", 0, 0),
    ("several", 0, 0),
    ("dense", 0, 0),
    ("folded", 0, 0),
    ("no-border", 0, 0),
    ("reflection", 0, 0),
    ("flicker", 0, 0),
    ("overexposed", 0, 0),
    ("fax", 0, 0),
    ("resent", 0, 0),
    ("far-away", 0, 0),
    ("bottle", 0, 0),
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
