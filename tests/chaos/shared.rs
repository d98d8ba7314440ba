//! Three front doors, two workers, a scheduler and PostgreSQL: each process is killed with SIGKILL
//! at random moments and the database is restarted, while callers enroll and decide as on one data
//! folder, take counted readings, check one code at all front doors, and lose their keys.
//! Afterwards the counts are exact, the code was accepted once at most, there is one unbroken chain,
//! and no key that was revoked has read anything a second later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use countersign_database::DatabaseUrl;
use countersign_database::testing::{Postgres, Setup};
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::load::{APPROVER, ENROLLER, Ended, Load};
use crate::parts::{ADMIN, Installation, Lives, Part};
use crate::{IN_FLIGHT, PATIENCE, Settings, check, report};

/// How long a change may take until it counts everywhere.
const SOON: Duration = Duration::from_secs(1);
/// How often a revoked key is tried at every front door after that.
const TRIES: usize = 12;
/// How many try the same code.
const CHECKERS: usize = 8;

/// How much of it, besides the enrollments.
struct Extent {
    /// How many readings are granted.
    reads: u64,
    /// How many keys are revoked.
    revoked: usize,
    /// How often the database is restarted.
    restarts: u64,
}

/// Callers that note what they got.
#[derive(Clone)]
struct Callers {
    load: Arc<Load>,
    /// Makes a new connection for each request, so that every front door is asked in turn.
    unpooled: Client,
    /// Set once nothing is killed any more.
    calm: Arc<AtomicBool>,
}

impl Callers {
    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// One try at the next front door; none if there was no complete answer.
    async fn try_once(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: Option<&Value>,
    ) -> Option<(StatusCode, Value)> {
        let url = format!("{}{path}", self.load.url());
        let mut request = self.unpooled.request(method, url).bearer_auth(key);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.load.attempt(request).await
    }

    /// Until there is an answer that is not to try again.
    async fn answered(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let begun = Instant::now();
        loop {
            let tried = self
                .try_once(method.clone(), path, key, body.as_ref())
                .await;
            match tried {
                Some((status, body)) if !status.is_server_error() => return (status, body),
                _ => {}
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{method} {path} is not answered"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A key of a new caller.
    async fn key(&self, name: &str, role: &str, granted_only: bool) -> String {
        self.caller(name, role, granted_only).await.1
    }

    /// A new caller's name and key. A try without an answer may have made one, which nobody has
    /// then: the next one gets another name.
    async fn caller(&self, name: &str, role: &str, granted_only: bool) -> (String, String) {
        for attempt in 0.. {
            let name = match attempt {
                0 => name.to_owned(),
                number => format!("{name}-{number}"),
            };
            let body = json!({"name": name, "role": role, "grantedOnly": granted_only});
            let (status, body) = self
                .answered(Method::POST, "/api/keys", ADMIN, Some(body))
                .await;
            match status {
                StatusCode::CONFLICT => {}
                status if status.is_success() => {
                    return (name, body["key"].as_str().unwrap().to_owned());
                }
                status => panic!("{status} {body}"),
            }
        }
        unreachable!("there are more names than tries")
    }

    /// A new account whose code is the same all day.
    async fn account(&self, name: &str, secret: &str) -> String {
        let uri = format!("otpauth://totp/{name}?secret={secret}&period=86400");
        let body = Some(json!({ "uri": uri }));
        let (status, made) = self
            .answered(Method::POST, "/api/accounts", ADMIN, body)
            .await;
        assert!(status.is_success(), "{status} {made}");
        made["secretName"].as_str().unwrap().to_owned()
    }

    /// Takes granted readings until there are none; how many were given, and how many answers
    /// were lost.
    async fn take(self, account: String, key: String) -> (u64, u64) {
        let path = format!("/api/tokens?id={account}");
        let (mut given, mut lost) = (0, 0);
        loop {
            match self.try_once(Method::GET, &path, &key, None).await {
                Some((StatusCode::OK, _)) => given += 1,
                Some((status, _)) if status.is_client_error() => return (given, lost),
                // It may have been counted, and recorded.
                Some(_) | None => lost += 1,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Checks a code again and again; how often it was accepted, and how many answers were lost.
    async fn check(self, account: String, key: String, code: Value) -> (u64, u64) {
        let path = format!("/api/accounts/{account}/verify");
        let body = json!({ "token": code });
        let (mut accepted, mut lost) = (0, 0);
        while !self.is_calm() {
            match self.try_once(Method::POST, &path, &key, Some(&body)).await {
                Some((StatusCode::OK, answer)) if answer["valid"] == true => accepted += 1,
                Some((status, _)) if !status.is_server_error() => {}
                Some(_) | None => lost += 1,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        (accepted, lost)
    }

    /// Revokes a key that has read, and tries it everywhere a second later.
    async fn revoke(self, number: usize, account: String, after: Duration) {
        let name = format!("leaves-{number}");
        let (name, key) = self.caller(&name, "reader", false).await;
        let path = format!("/api/tokens?id={account}");
        let (status, body) = self.answered(Method::GET, &path, &key, None).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        tokio::time::sleep(after).await;
        let revoked = format!("/api/keys/{name}");
        let (status, body) = self.answered(Method::DELETE, &revoked, ADMIN, None).await;
        assert!(status.is_success(), "{status} {body}");
        tokio::time::sleep(SOON).await;
        for _ in 0..TRIES {
            let read = self.try_once(Method::GET, &path, &key, None).await;
            assert!(
                !matches!(&read, Some((StatusCode::OK, _))),
                "{name} reads after it was revoked: {read:?}"
            );
        }
    }
}

async fn survive(settings: Settings, extent: Extent) {
    let Settings {
        enrollments,
        kills,
        seed,
    } = settings;
    let Some(mut server) = tokio::task::block_in_place(|| Postgres::start(Setup::default())) else {
        return;
    };
    println!("CHAOS_ENROLLMENTS={enrollments} CHAOS_KILLS={kills} CHAOS_SEED={seed}");
    let begun = Instant::now();
    let name = tokio::task::block_in_place(|| server.make());
    let url = format!(
        "postgresql://countersign@127.0.0.1:{}/{name}",
        server.port()
    );
    let url: DatabaseUrl = url.parse().unwrap();
    let at = Installation::on(url).await;
    let (counted, counting) = watch::channel(0);
    let beginning = Part::SHARED.map(|part| Lives::begin(&at, part, seed, &counted));
    let mut lives = join_all(beginning).await;

    let bare = Load::new(at.door.url(), String::new(), String::new());
    let mut callers = Callers {
        load: Arc::new(bare),
        unpooled: Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap(),
        calm: Arc::default(),
    };
    let enroller = callers.key(ENROLLER, "enroller", false).await;
    // Made on the host: another hand than the administrator's, whose key the enroller has.
    let approver = at.key(APPROVER, "approver").await;
    let reader = callers.key("dashboard-wall", "reader", false).await;
    callers.load = Arc::new(Load::new(at.door.url(), enroller, approver));
    let mut own = Vec::new();
    for (name, secret) in [
        ("counted", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"),
        ("checked", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"),
    ] {
        own.push(callers.account(name, secret).await);
    }
    let leased = callers.key("leased", "reader", true).await;
    let grant = json!({"caller": "leased", "account": own[0], "reads": extent.reads});
    let (status, granted) = callers
        .answered(Method::POST, "/api/grants", ADMIN, Some(grant))
        .await;
    assert!(status.is_success(), "{status} {granted}");
    let code = format!("/api/tokens?id={}", own[1]);
    let (_, code) = callers.answered(Method::GET, &code, &reader, None).await;
    let code = code["token"].clone();

    let mut random = StdRng::seed_from_u64(seed);
    let mut readings = JoinSet::new();
    for _ in 0..4 {
        readings.spawn(callers.clone().take(own[0].clone(), leased.clone()));
    }
    let mut checks = JoinSet::new();
    for number in 0..CHECKERS {
        let key = callers
            .key(&format!("checks-{number}"), "reader", false)
            .await;
        checks.spawn(callers.clone().check(own[1].clone(), key, code.clone()));
    }
    let mut leaving = JoinSet::new();
    for number in 0..extent.revoked {
        let after = Duration::from_millis(random.random_range(0..4_000));
        leaving.spawn(callers.clone().revoke(number, own[1].clone(), after));
    }
    let all_kills = kills * Part::SHARED.len() as u64;
    let load = &callers.load;
    let enrolling = stream::iter(0..enrollments)
        .map(|number| {
            let after = all_kills * number as u64 / enrollments as u64;
            load.enroll(number, after, counting.clone())
        })
        .buffer_unordered(IN_FLIGHT)
        .collect::<Vec<Ended>>();
    let killing = join_all(lives.iter_mut().map(|it| it.be_killed(kills)));
    let restarting = async {
        for _ in 0..extent.restarts {
            tokio::time::sleep(Duration::from_millis(random.random_range(500..3_000))).await;
            let restarted = tokio::task::spawn_blocking(move || {
                server.stop().unwrap();
                server.start_again().unwrap();
                server
            });
            server = restarted.await.unwrap();
        }
        server
    };
    let (ended, _, server) = tokio::join!(enrolling, killing, restarting);
    callers.calm.store(true, Ordering::Relaxed);
    let took = begun.elapsed();

    leaving.join_all().await;
    let (given, lost) = sum(readings.join_all().await);
    assert!(
        given <= extent.reads,
        "{given} readings of {}",
        extent.reads
    );
    assert!(
        given + lost >= extent.reads,
        "{given} readings, {lost} without an answer"
    );
    let (accepted, unanswered) = sum(checks.join_all().await);
    assert!(accepted <= 1, "a code was accepted {accepted} times");
    assert!(
        accepted + unanswered >= 1,
        "a right code was never accepted"
    );

    let sent = load.answered.lock().unwrap().len();
    check::each_has_its_outcome(load, &ended).await;
    check::there_are_no_other_enrollments(load, &ended, &own).await;
    let stored = tokio::task::block_in_place(|| {
        let sql = "SELECT id FROM countersign.vault_accounts";
        server.psql(&name, sql).unwrap()
    });
    let stored: Vec<String> = stored
        .split_whitespace()
        .filter(|id| own.iter().all(|own| own != id))
        .map(str::to_owned)
        .collect();
    check::each_has_its_secret(load, &reader, &stored, &ended, &own).await;
    let mut fates = BTreeMap::new();
    for life in lives.into_iter().rev() {
        let part = life.part();
        fates.insert(format!("{part:?}"), (part, life.stop().await));
    }
    let entries = check::the_audit_log_is_complete(load, &at, &ended).await;
    let recorded = check::audit_log(&at).await;
    let count = |action: &str, caller: &str| {
        let of = |entry: &&Value| entry["action"] == action && entry["caller"] == caller;
        let done = recorded
            .iter()
            .filter(of)
            .filter(|entry| entry["outcome"] == "done");
        done.count() as u64
    };
    let read = count("read-code", "leased");
    assert!(
        given <= read && read <= extent.reads,
        "{given} given, {read} recorded"
    );
    report(load, &ended, took, fates.into_values(), (sent, entries));
    println!(
        "{} restarts of the database; {given} of {} granted readings given, {lost} answers lost; \
         one code accepted {accepted} times; {} keys revoked, none has read a second later",
        extent.restarts, extent.reads, extent.revoked
    );
}

fn sum(each: Vec<(u64, u64)>) -> (u64, u64) {
    let add = |sum: (u64, u64), one: (u64, u64)| (sum.0 + one.0, sum.1 + one.1);
    each.into_iter().fold((0, 0), add)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn front_doors_that_share_a_database_agree_whatever_is_killed() {
    let extent = Extent {
        reads: 40,
        revoked: 4,
        restarts: 2,
    };
    survive(Settings::or(40, 3), extent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes minutes; .ci/long runs it"]
async fn a_thousand_enrollments_at_three_front_doors_whatever_is_killed() {
    let extent = Extent {
        reads: 1_000,
        revoked: 40,
        restarts: 12,
    };
    survive(Settings::or(1_000, 30), extent).await;
}
