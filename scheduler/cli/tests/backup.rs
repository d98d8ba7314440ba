//! A backup that is made while the scheduler works is a whole database of one moment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_holds_everything_acknowledged_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]);
    let client = process.client();
    let (stop, acknowledged) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let load = tokio::spawn({
        let (client, stop, acknowledged) = (client.clone(), stop.clone(), acknowledged.clone());
        async move {
            while !stop.load(Ordering::Acquire) {
                let next = acknowledged.load(Ordering::Acquire);
                start(&client, "default", &format!("i{next}"))
                    .await
                    .unwrap();
                acknowledged.store(next + 1, Ordering::Release);
            }
        }
    });
    let begun = std::time::Instant::now();
    while acknowledged.load(Ordering::Acquire) < 50 {
        assert!(begun.elapsed() < PATIENCE, "instances are started");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }

    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("copy.sqlite3");
    let before = acknowledged.load(Ordering::Acquire);
    let (data, file) = (folder.path().to_owned(), copy.clone());
    let made = tokio::task::spawn_blocking(move || {
        output(&[
            "backup",
            file.to_str().unwrap(),
            "--data-dir",
            data.to_str().unwrap(),
        ])
    })
    .await
    .unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    let again = output(&[
        "backup",
        copy.to_str().unwrap(),
        "--data-dir",
        folder.path().to_str().unwrap(),
    ]);
    assert!(
        stderr(&again).contains("does not overwrite files"),
        "{}",
        stderr(&again)
    );
    stop.store(true, Ordering::Release);
    load.await.unwrap();
    assert_eq!(
        std::fs::read_dir(copies.path()).unwrap().count(),
        1,
        "nothing else is left"
    );

    let restored = tempfile::tempdir().unwrap();
    std::fs::rename(&copy, restored.path().join("scheduler.sqlite3")).unwrap();
    let process = Process::start(restored.path(), &[]);
    let client = process.client();
    for number in 0..before {
        assert!(
            exists(&client, "default", &format!("i{number}")).await,
            "i{number} of {before}"
        );
    }
}

#[test]
fn a_folder_without_a_database_has_nothing_to_back_up() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let refused = output(&[
        "backup",
        copy.to_str().unwrap(),
        "--data-dir",
        folder.path().to_str().unwrap(),
    ]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("no scheduler database"),
        "{}",
        stderr(&refused)
    );
    assert!(!copy.exists());
}
