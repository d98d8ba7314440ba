//! What every store of checked codes promises, tried on each kind of store with two front doors.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use countersign::verify::{Attempt, Checks, FolderChecks, Judged, PostgresChecks};
use countersign_database::Database;
use countersign_database::testing::Postgres;
use countersign_enrollment::ids::EnrollmentId;
use tokio::task::JoinSet;

/// Wrong codes that an account takes from one caller, and from all together.
const MOST_WRONG: usize = 5;
const MOST_WRONG_OF_ALL: usize = 10;

/// A store of each kind, as two front doors have it: a data folder has one front door.
async fn kinds(folder: &tempfile::TempDir) -> Vec<[Arc<dyn Checks>; 2]> {
    let checks = FolderChecks::open(&folder.path().join("verify.sqlite3"));
    let checks: Arc<dyn Checks> = Arc::new(checks.unwrap());
    let mut kinds = vec![[Arc::clone(&checks), checks]];
    if let Some(server) = tokio::task::block_in_place(Postgres::shared) {
        let at = tokio::task::block_in_place(|| server.database());
        let mut doors: Vec<Arc<dyn Checks>> = Vec::new();
        for _ in 0..2 {
            let database = Database::open(at.clone(), None, 5).await.unwrap();
            doors.push(Arc::new(PostgresChecks::new(database)));
        }
        kinds.push(doors.try_into().ok().expect("two"));
    }
    kinds
}

fn attempt(account: &EnrollmentId, caller: &str, step: Option<i64>) -> Attempt {
    let start: DateTime<Utc> = "2026-03-04T05:06:07Z".parse().unwrap();
    Attempt {
        account: account.clone(),
        caller: caller.to_owned(),
        now: start,
        step,
        period: 30,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_try_a_code_at_once_one_is_right_and_time_goes_forward() {
    let folder = tempfile::tempdir().unwrap();
    for doors in kinds(&folder).await {
        let account = EnrollmentId::random();
        let mut tried = JoinSet::new();
        for number in 0..20 {
            let door = Arc::clone(&doors[number % 2]);
            // Each of another caller, who is not locked out.
            let attempt = attempt(&account, &format!("caller-{number}"), Some(7));
            tried.spawn(async move { door.judge(attempt).await.unwrap() });
        }
        let tried = tried.join_all().await;
        let accepted = tried.iter().filter(|it| **it == Judged::Accepted).count();
        assert_eq!(accepted, 1, "{tried:?}");

        let another = EnrollmentId::random();
        for (door, step, judged) in [
            (0, 8, Judged::Accepted),
            (1, 7, Judged::Used),
            (1, 9, Judged::Accepted),
            (0, 9, Judged::Used),
        ] {
            let found = doors[door].judge(attempt(&another, "bot", Some(step)));
            assert_eq!(found.await.unwrap(), judged, "{step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_guess_at_once_as_many_are_judged_as_may() {
    let folder = tempfile::tempdir().unwrap();
    for doors in kinds(&folder).await {
        let account = EnrollmentId::random();
        let guess = async |callers: usize| {
            let mut tried = JoinSet::new();
            for number in 0..60 {
                let door = Arc::clone(&doors[number % 2]);
                let caller = format!("of {callers}: {}", number % callers);
                let attempt = attempt(&account, &caller, None);
                tried.spawn(async move { door.judge(attempt).await.unwrap() });
            }
            let tried = tried.join_all().await;
            tried.iter().filter(|it| **it == Judged::Wrong).count()
        };
        assert_eq!(guess(1).await, MOST_WRONG);
        // Others have what is left for all, and then one try each.
        let judged = guess(4).await;
        let left = MOST_WRONG_OF_ALL - MOST_WRONG;
        assert!((left..=left + 4).contains(&judged), "{judged}");

        // It ends by the clock of the front door that is asked.
        let later = Attempt {
            now: attempt(&account, "", None).now + TimeDelta::minutes(6),
            ..attempt(&account, "of 1: 0", Some(3))
        };
        assert_eq!(doors[1].judge(later).await.unwrap(), Judged::Accepted);
    }
}
