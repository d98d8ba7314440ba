//! What the process asks of the operating system.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{App, BINARY};

/// What the system tells of a server's process in a file.
fn told(app: &App, file: &str) -> String {
    let bound = fs::read(app.data_dir().join("serve.json")).unwrap();
    let bound: Value = serde_json::from_slice(&bound).unwrap();
    fs::read_to_string(format!("/proc/{}/{file}", bound["pid"])).unwrap()
}

/// The words that follow a name there.
fn words<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.expect("the system tells it")
        .split_whitespace()
        .collect()
}

#[tokio::test]
async fn a_server_leaves_no_core_dump_and_may_open_what_the_system_lets_it() {
    let app = App::start().await;
    let limits = told(&app, "limits");
    assert_eq!(words(&limits, "Max core file size")[..2], ["0", "0"]);
    let files = words(&limits, "Max open files");
    assert_eq!(files[0], files[1]);
}

/// KiB of memory that stay out of swap.
fn locked(app: &App) -> u64 {
    words(&told(app, "status"), "VmLck:")[0].parse().unwrap()
}

/// What a shell command says that starts a server, as `"$@"`, whose address is taken. A server
/// locks its memory before it listens.
fn ended_early(app: &App, shell: &[&str]) -> (Output, bool) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(shell[0])
        .args(&shell[1..])
        .args([BINARY, "serve", "--lock-memory", "on", "--data-dir"])
        .arg(folder.path())
        .args(["--listen", app.address()])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let refused = message.contains("--lock-memory on: ");
    assert!(refused || message.contains("--listen"), "{message}");
    (output, refused)
}

#[tokio::test]
async fn memory_stays_out_of_swap_where_possible_and_the_exception_is_reported() {
    let off = App::start_with(&["--lock-memory", "off"]).await;
    assert_eq!(locked(&off), 0);
    let app = App::start().await;
    let (_, refused) = ended_early(&app, &["env"]);
    if refused {
        assert_eq!(locked(&app), 0);
        assert!(app.logs().contains("memory may be swapped out"));
    } else {
        assert_ne!(locked(&app), 0);
        let on = App::start_with(&["--lock-memory", "on"]).await;
        assert_ne!(locked(&on), 0);
    }

    // Under a limit, which those who may pass it have to give that up for.
    let gives_up = ["setpriv", "--bounding-set=-ipc_lock"];
    let tried = Command::new(gives_up[0])
        .args([gives_up[1], "true"])
        .output();
    let can = tried.is_ok_and(|output| output.status.success());
    let limited = ["sh", "-c", "ulimit -l 0 && exec \"$@\"", "sh"];
    let limited = match (can, refused) {
        (true, _) => [&gives_up[..], &limited].concat(),
        (false, true) => limited.to_vec(),
        (false, false) => return,
    };
    let (output, refused) = ended_early(&app, &limited);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(refused, "{message}");
    assert!(message.contains("may lock only 0 bytes"), "{message}");
    assert!(message.contains("LimitMEMLOCK=infinity"), "{message}");
}
