//! Every secret of a data folder is replaced while callers work, and none of their calls fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{App, Caller, PATIENCE, SEED_URI};
use crate::webhook::Receiver;

/// What each rotation is run with.
const ROTATIONS: [&[&str]; 7] = [
    &["rotate", "vault-key"],
    &["rotate", "seal-key"],
    &["mandate-key", "rotate"],
    &["rotate", "server-key"],
    &["key", "rotate", "reader", "--overlap", "1h"],
    &["rotate", "admin-token"],
    &["rotate", "webhook-secret"],
];

/// Callers who read and enroll, and how often each of them has.
struct Load {
    stop: Arc<AtomicBool>,
    rounds: Vec<Arc<AtomicUsize>>,
    hands: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(callers: &[(&Caller, &Caller)], account: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds: Vec<Arc<AtomicUsize>> = callers.iter().map(|_| Arc::default()).collect();
        let hands = callers
            .iter()
            .zip(&rounds)
            .map(|((reader, admin), rounds)| {
                let (reader, admin) = ((*reader).clone(), (*admin).clone());
                let (stop, rounds) = (Arc::clone(&stop), Arc::clone(rounds));
                let path = format!("/api/accounts/{account}/token");
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        for caller in [&reader, &admin] {
                            let read = caller.get(&path).await;
                            assert_eq!(read.status, 200, "{read:?}");
                        }
                        let made = admin
                            .post("/api/accounts", &json!({ "uri": SEED_URI }))
                            .await;
                        assert_eq!(made.status, 201, "{made:?}");
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                })
            });
        let hands = hands.collect();
        Self {
            stop,
            rounds,
            hands,
        }
    }

    /// Waits until each of them has worked twice from its beginning to its end.
    async fn works_on(&self) {
        for rounds in &self.rounds {
            let before = rounds.load(Ordering::Relaxed);
            let begun = std::time::Instant::now();
            while rounds.load(Ordering::Relaxed) < before + 3 {
                let failed = self.hands.iter().any(tokio::task::JoinHandle::is_finished);
                assert!(!failed, "a caller's call has failed");
                assert!(begun.elapsed() < PATIENCE, "nobody works on");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for hand in self.hands {
            hand.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_fails_while_every_secret_of_a_data_folder_is_rotated() {
    let (receiver, address) = Receiver::start(&[]).await;
    let url = format!("http://{address}/hook");
    let app = App::start_with(&["--webhook-url", &url]).await;
    let admin = app.admin();
    let reader = app.new_caller("reader", "reader");
    let account = admin.enroll(SEED_URI, false).await;
    assert_eq!(admin.ended(&account).await.body["stage"], "Enrolled");
    let waiting = admin.enroll(SEED_URI, true).await;
    admin.until_stage(&waiting, "AwaitingApproval").await;
    let secret = || std::fs::read_to_string(app.data_dir().join("webhook-secret")).unwrap();
    let old_secret = secret().trim().to_owned();
    receiver.until(1).await;

    let load = Load::start(&[(&reader, &admin), (&reader, &admin)], &account);
    load.works_on().await;
    for words in ROTATIONS {
        let words = [words, &["--json"]].concat();
        let rotated = tokio::task::block_in_place(|| app.command(&words));
        assert!(rotated.status.success(), "{words:?}: {rotated:?}");
        load.works_on().await;
    }
    load.end().await;

    // The new ones work, beside the old ones.
    let new = app.admin();
    assert_ne!(new.token(), admin.token());
    for caller in [&new, &admin] {
        assert_eq!(caller.get("/api/session").await.status, 200);
    }
    let approver = app.new_caller("second-pair-of-eyes", "approver");
    assert_eq!(approver.decide(&waiting, true, "").await.status, 202);
    assert_eq!(new.ended(&waiting).await.body["stage"], "Enrolled");
    receiver.until(2).await;
    receiver.assert_signed_with("countersign.decided", &[secret().trim(), &old_secret]);
    let checked = app.command(&["audit", "verify", "--json"]);
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(checked["intact"], true, "{checked}");
}
