//! `migrate` as a program: what it prints, whom it refuses, and that a kill at any moment leaves one place
//! that counts.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::database;
use crate::support::{Process, exists, program, start, stderr};

fn migrate(url: &str, folder: &Path, to: &str) -> std::process::Command {
    let mut command = program();
    command
        .args(["migrate", to, "--json", "--data-dir"])
        .arg(folder)
        .env("DURABLETASK_DATABASE_URL", url);
    command
}

fn refused(output: &Output, with: &str) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(with), "{with} in {text}");
}

async fn filled(folder: &Path, count: usize) {
    let process = Process::start(folder, &[]);
    let client = process.client();
    for number in 0..count {
        start(&client, "default", &format!("i{number}"))
            .await
            .unwrap();
    }
    assert!(process.terminate().success());
}

async fn holds(process: &Process, count: usize) {
    process.until_ready().await;
    for number in 0..count {
        assert!(
            exists(&process.client(), "default", &format!("i{number}")).await,
            "i{number}"
        );
    }
}

#[tokio::test]
async fn it_counts_what_it_moved_and_refuses_what_runs() {
    let Some(url) = database() else { return };
    let place = tempfile::tempdir().unwrap();
    let (source, target) = (place.path().join("source"), place.path().join("target"));
    let nothing = migrate(&url, &source, "to-database").output().unwrap();
    refused(&nothing, "nothing to move");
    let mut nowhere = migrate(&url, &source, "to-database");
    let nowhere = nowhere
        .env_remove("DURABLETASK_DATABASE_URL")
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(2), "{}", stderr(&nowhere));

    filled(&source, 20).await;
    let running = Process::start(&source, &[]);
    refused(
        &migrate(&url, &source, "to-database").output().unwrap(),
        "in use by another process",
    );
    assert!(running.terminate().success());
    let node = Process::node(&url, "first", &[]);
    node.until_ready().await;
    refused(
        &migrate(&url, &source, "to-database").output().unwrap(),
        "in use by the scheduler first",
    );
    assert!(node.terminate().success());

    let moved = migrate(&url, &source, "to-database").output().unwrap();
    assert!(moved.status.success(), "{}", stderr(&moved));
    let said: serde_json::Value = serde_json::from_slice(&moved.stdout).unwrap();
    assert_eq!(said["rows"]["instances"], 20, "{said}");
    assert!(
        said["oldDatabase"]
            .as_str()
            .unwrap()
            .ends_with("scheduler.sqlite3.moved"),
        "{said}"
    );
    let gone = Process::try_start(&source, &[]).err().unwrap();
    assert!(gone.contains("are in the database"), "{gone}");
    let mut backup = program();
    let copy = place.path().join("copy");
    let backup = backup
        .arg("backup")
        .arg(&copy)
        .arg("--data-dir")
        .arg(&source)
        .output()
        .unwrap();
    refused(&backup, "pg_dump");
    let node = Process::node(&url, "first", &[]);
    holds(&node, 20).await;
    refused(
        &migrate(&url, &target, "to-folder").output().unwrap(),
        "in use by the scheduler first",
    );
    assert!(node.terminate().success());

    let moved = migrate(&url, &target, "to-folder").output().unwrap();
    assert!(moved.status.success(), "{}", stderr(&moved));
    let gone = Process::try_node(&url, "first", &[]).err().unwrap();
    assert!(gone.contains("were moved to"), "{gone}");
    holds(&Process::start(&target, &[]), 20).await;
}

#[tokio::test]
async fn a_move_that_is_killed_at_any_moment_is_finished_by_the_next() {
    let Some(url) = database() else { return };
    let place = tempfile::tempdir().unwrap();
    let (source, target) = (place.path().join("source"), place.path().join("target"));
    let count = 300;
    filled(&source, count).await;
    for (folder, to) in [(&source, "to-database"), (&target, "to-folder")] {
        let mut killed = 0;
        for moment in 0..12 {
            let mut command = migrate(&url, folder, to);
            let mut child = command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            tokio::time::sleep(Duration::from_millis(20 + 15 * moment)).await;
            match child.try_wait().unwrap() {
                Some(_) => break,
                None => killed += 1,
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        // If the last one was killed after the end, this says so; otherwise it finishes.
        let last = migrate(&url, folder, to).output().unwrap();
        println!("{to}: {killed} killed, then {}", last.status);
        match to {
            "to-database" => {
                assert!(Process::try_start(&source, &[]).is_err());
                let node = Process::node(&url, "node", &[]);
                holds(&node, count).await;
                assert!(node.terminate().success());
            }
            _ => {
                assert!(Process::try_node(&url, "node", &[]).is_err());
                holds(&Process::start(&target, &[]), count).await;
            }
        }
    }
}
