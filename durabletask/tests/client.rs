//! The client against a scheduler made of channels.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::time::Duration;

use durabletask::{
    Client, ClientError, IdReuse, InstanceQuery, Orchestration, Payloads, Status as Runtime,
};
use durabletask_proto as proto;
use fake::{Fake, Got};
use futures_util::TryStreamExt;
use tonic::Status;

const STORY: Orchestration<u32, u32> = Orchestration::new("story");

fn state(id: &str, status: proto::OrchestrationStatus) -> proto::OrchestrationState {
    proto::OrchestrationState {
        instance_id: id.to_owned(),
        name: "story".to_owned(),
        orchestration_status: status as i32,
        output: Some("\"planted-value\"".to_owned()),
        ..Default::default()
    }
}

fn exists(status: proto::OrchestrationStatus) -> proto::GetInstanceResponse {
    proto::GetInstanceResponse {
        exists: true,
        orchestration_state: Some(state("abc", status)),
    }
}

#[tokio::test]
async fn a_start_carries_what_was_asked_for() {
    let mut fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    let id = client
        .start(&STORY, &7)
        .instance_id("abc")
        .reuse(IdReuse::Never)
        .version("1.2")
        .tag("team", "blue")
        .send()
        .await
        .unwrap();
    assert_eq!(id, "abc");
    let Got::Started(request) = fake.next().await else {
        panic!("not a start");
    };
    assert_eq!(
        (request.name.as_str(), request.input.as_deref()),
        ("story", Some("7"))
    );
    assert_eq!(request.version.as_deref(), Some("1.2"));
    assert_eq!(request.tags["team"], "blue");
    // Present and empty: nothing may be replaced.
    assert_eq!(
        request
            .orchestration_id_reuse_policy
            .unwrap()
            .replaceable_status,
        [0; 0]
    );

    let random = client.start(&STORY, &7).send().await.unwrap();
    assert_eq!(random.len(), 32);
}

#[tokio::test]
async fn starts_are_not_repeated_and_their_errors_are_typed() {
    let fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    fake.answer_starts(vec![
        Err(Status::unavailable("busy")),
        Err(Status::already_exists("")),
    ]);
    let start = || client.start(&STORY, &7).instance_id("abc").send();
    assert!(matches!(start().await, Err(ClientError::Unavailable(_))));
    assert_eq!(
        start().await,
        Err(ClientError::AlreadyExists {
            instance_id: "abc".into()
        })
    );
    let reserved = client.start(&STORY, &7).instance_id("@abc").send().await;
    assert!(matches!(reserved, Err(ClientError::InvalidArgument(_))));
}

#[tokio::test]
async fn reads_are_repeated_while_the_scheduler_is_unavailable() {
    let fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    fake.answer_instances(vec![
        Err(Status::unavailable("busy")),
        Err(Status::unavailable("busy")),
        Ok(exists(proto::OrchestrationStatus::Running)),
    ]);
    let state = client.get("abc", Payloads::Include).await.unwrap().unwrap();
    assert_eq!(state.status, Runtime::Running);
    assert!(!format!("{state:?}").contains("planted"));
    let error = state.output::<u32>().unwrap_err().to_string();
    assert!(!error.contains("planted"), "{error}");
    assert_eq!(client.get("abc", Payloads::Omit).await, Ok(None));
}

#[tokio::test]
async fn a_wait_goes_on_until_its_own_deadline() {
    let fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    fake.answer_instances(vec![
        Err(Status::deadline_exceeded("slice")),
        Err(Status::unavailable("busy")),
        Ok(exists(proto::OrchestrationStatus::Completed)),
    ]);
    let wait = |timeout| client.wait_for_completion("abc", Payloads::Omit, timeout);
    let state = wait(Duration::from_secs(20)).await.unwrap();
    assert!(state.status.is_terminal());

    let slices = std::iter::repeat_with(|| Err(Status::deadline_exceeded("slice")));
    fake.answer_instances(slices.take(1_000).collect());
    let error = wait(Duration::from_millis(150)).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");

    fake.answer_instances(Vec::new());
    let error = wait(Duration::from_secs(20)).await.unwrap_err();
    assert!(matches!(error, ClientError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn all_pages_of_a_query_are_walked() {
    let fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    let page = |id: &str, token: Option<&str>| {
        Ok(proto::QueryInstancesResponse {
            orchestration_state: vec![state(id, proto::OrchestrationStatus::Failed)],
            continuation_token: token.map(str::to_owned),
        })
    };
    fake.answer_queries(vec![
        page("a", Some("1")),
        page("b", Some("2")),
        page("c", Some("")),
    ]);
    let ids: Vec<String> = client
        .query_all(InstanceQuery::default())
        .map_ok(|instance| instance.instance_id)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(ids, ["a", "b", "c"]);
}

#[tokio::test]
async fn what_the_scheduler_lacks_is_told() {
    let fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    let error = client.suspend("abc", "").await.unwrap_err();
    assert!(matches!(error, ClientError::Unsupported(_)), "{error}");
    client.hello().await.unwrap();
}
