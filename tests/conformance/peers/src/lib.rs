//! What the programs for the engines share: the work, and how it is timed.

use std::future::Future;
use std::time::Instant;

use futures_util::StreamExt as _;

/// Activities of an instance, one after the other.
pub const CITIES: [&str; 5] = ["Tokyo", "Seattle", "London", "Amsterdam", "Nairobi"];
/// Instances that run before the clock does.
const WARM_UP: usize = 20;

/// What an activity answers.
#[must_use]
pub fn hello(city: &str) -> String {
    format!("Hello, {city}!")
}

/// What an instance answers.
#[must_use]
pub fn greetings() -> Vec<String> {
    CITIES.map(hello).to_vec()
}

/// Runs the instances, each of which is begun by `begin` and awaited with `end`, no more than
/// `in_flight` of either at once, and prints the seconds that all of them took together.
///
/// # Panics
/// Where an instance does not answer what it should.
pub async fn measure<B, E>(
    instances: usize,
    in_flight: usize,
    begin: impl Fn(usize) -> B,
    end: impl Fn(usize) -> E,
) where
    B: Future<Output = ()>,
    E: Future<Output = Vec<String>>,
{
    let run = async |from: usize, to: usize| {
        futures_util::stream::iter(from..to)
            .map(&begin)
            .buffer_unordered(in_flight)
            .collect::<Vec<()>>()
            .await;
        let answers: Vec<Vec<String>> = futures_util::stream::iter(from..to)
            .map(&end)
            .buffer_unordered(in_flight)
            .collect()
            .await;
        assert_eq!(answers.len(), to - from, "no instance is lost");
        for answer in answers {
            assert_eq!(answer, greetings());
        }
    };
    run(0, WARM_UP).await;
    let begun = Instant::now();
    run(WARM_UP, WARM_UP + instances).await;
    println!("{:.3}", begun.elapsed().as_secs_f64());
}
