//! Bytes that someone uploads as an image: an answer or a refusal, within the limits.

#![no_main]

use std::time::{Duration, Instant};

use countersign_activities::images::ReadLimits;
use countersign_activities::qr;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Small, so that many are tried; what grows with size is tested elsewhere.
    let limits = ReadLimits {
        max_pixels: 250_000,
        max_alloc: 16_000_000,
        deadline: Duration::from_millis(500),
        ..ReadLimits::default()
    };
    let begun = Instant::now();
    if let Ok(reading) = qr::examine(bytes, &limits) {
        assert!(reading.payloads.len() + reading.unread.len() < 1_000);
        // A part is a payload only together with all others of its set.
        let joined = reading.payloads.iter().filter(|it| it.is_joined()).count();
        assert!(joined + reading.split.len() <= reading.parts.len());
    }
    // Far beyond the deadline, since sanitizers slow everything down.
    assert!(begun.elapsed() < Duration::from_secs(20));
});
