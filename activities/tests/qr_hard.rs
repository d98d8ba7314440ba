//! What cameras, screens, paper and light do to a code: how much of it is read, by kind, in what
//! time, and that nothing is read wrong. `cargo test --test qr_hard -- --nocapture` prints it all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod drawn;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use countersign_activities::picture::ReadLimits;
use countersign_activities::qr;
use drawn::photo::{OF_EACH, hard};

/// How many of each kind are read at least. The worst of each are meant to be out of reach.
const READ: [(&str, usize); 16] = [
    ("perspective", 12),
    ("screen-moire", 12),
    ("glare", 6),
    ("curved", 7),
    ("defocus", 10),
    ("motion", 12),
    ("noise", 12),
    ("dark-theme", 12),
    ("tiny", 10),
    ("huge", 12),
    ("low-contrast", 11),
    ("uneven-light", 11),
    ("crumpled", 2),
    ("halftone", 9),
    ("cut", 6),
    ("covered", 9),
];

#[test]
fn hard_images_are_read_by_kind_and_none_wrong() {
    // What is measured here is what can be read, whatever else the machine does.
    let limits = ReadLimits {
        deadline: Duration::from_secs(20),
        ..ReadLimits::default()
    };
    let mut read: BTreeMap<&str, usize> = BTreeMap::new();
    let mut times: Vec<Duration> = Vec::new();
    for hard in hard() {
        let start = Instant::now();
        let reading = qr::examine(&hard.bytes, &limits).unwrap();
        times.push(start.elapsed());
        let (kind, number) = (hard.kind, hard.number);
        assert!(
            reading.payloads.iter().all(|it| it.expose() == hard.text),
            "{kind} {number} is read wrong"
        );
        let is_read = !reading.payloads.is_empty();
        assert!(
            !is_read || reading.unread.is_empty(),
            "{kind} {number} has one code: {:?}",
            reading.unread
        );
        *read.entry(kind).or_default() += usize::from(is_read);
    }
    times.sort_unstable();
    let count = times.len();
    for (kind, number) in &read {
        println!("{kind:<13} {number:>2} of {OF_EACH}");
    }
    println!(
        "all           {} of {count}, median {:.1?}, longest {:.1?}",
        read.values().sum::<usize>(),
        times[count / 2],
        times[count - 1]
    );
    assert_eq!((read.len(), count), (READ.len(), READ.len() * OF_EACH));
    for (kind, least) in READ {
        assert!(read[kind] >= least, "{kind}: {} of {least}", read[kind]);
    }
}
