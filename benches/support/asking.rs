//! Requests over kept connections, and what is said of their times.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Connections that ask for codes.
pub(crate) const CONNECTIONS: usize = 32;

/// Requests a second over kept connections.
pub(crate) async fn rate(address: SocketAddr, requests: &[String], time: Duration) -> f64 {
    let begun = Instant::now();
    let end = begun + time;
    let asking = (0..CONNECTIONS).map(|at| {
        let mut requests = requests.to_owned();
        let length = requests.len();
        requests.rotate_left(at * length / CONNECTIONS);
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let (mut buffer, mut answered) = (Vec::with_capacity(4096), 0_u32);
            for request in requests.iter().cycle() {
                if Instant::now() >= end {
                    break;
                }
                ask(&mut stream, request, &mut buffer).await;
                answered += 1;
            }
            answered
        })
    });
    let mut answered = 0;
    for task in asking.collect::<Vec<_>>() {
        answered += task.await.expect("it asks to the end");
    }
    f64::from(answered) / begun.elapsed().as_secs_f64()
}

/// Sends a request and reads the answer, which has to be a good one.
pub(crate) async fn ask(stream: &mut TcpStream, request: &str, buffer: &mut Vec<u8>) {
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it is sent");
    buffer.clear();
    loop {
        let read = stream.read_buf(buffer).await.expect("it is answered");
        assert_ne!(read, 0, "it is answered");
        let text = std::str::from_utf8(buffer).expect("text");
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        assert!(head.starts_with("HTTP/1.1 200"), "{text}");
        let length = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, length)| length.parse::<usize>().ok());
        if body.len() >= length.expect("a length") {
            return;
        }
    }
}

/// The number in their middle.
pub(crate) fn middle(numbers: &mut [f64]) -> f64 {
    share(numbers, 0.5)
}

/// The number below which this share of them is.
pub(crate) fn share(numbers: &mut [f64], share: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let at = (numbers.len() as f64 * share) as usize;
    numbers[at.min(numbers.len() - 1)]
}

/// Memory of a process, `self` for this one, in MiB; 0 where the system does not tell.
pub(crate) fn resident(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}
