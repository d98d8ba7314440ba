//! The client against a scheduler made of channels.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::time::Duration;

use chrono::DateTime;
use durabletask::client::{
    IdReuse, InstanceHandle, InstanceIdQuery, InstanceQuery, Payloads, PurgeFilter, Recursive,
    RestartAs, Status as Runtime,
};
use durabletask::history::HistoryPayload;
use durabletask::{Client, ClientError, Event, Orchestration};
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
        .unwrap()
        .into_id();
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

    let random = client.start(&STORY, &7).send().await.unwrap().into_id();
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
        start().await.map(InstanceHandle::into_id),
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
async fn a_wait_continues_until_its_own_deadline() {
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
        .list_instances(InstanceQuery::default())
        .map_ok(|instance| instance.instance_id)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(ids, ["a", "b", "c"]);
}

#[tokio::test]
async fn what_the_scheduler_lacks_is_reported() {
    let fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    fake.answer_commands(vec![Err(Status::unimplemented("suspend_instance"))]);
    let error = client.suspend("abc", "").await.unwrap_err();
    assert!(matches!(error, ClientError::Unsupported(_)), "{error}");
    const ANY: Orchestration<(), ()> = Orchestration::new("any");
    let error = client.fork(&ANY, "abc", 0, "def").await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Unsupported(why) if why.contains("no forks")),
        "{error}"
    );
    client.hello().await.unwrap();
}

#[tokio::test]
async fn commands_carry_what_was_asked_for() {
    let mut fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    const GO: Event<u32> = Event::new("go");

    client.raise_event("abc", &GO, &7).await.unwrap();
    let Got::Raised(raised) = fake.next().await else {
        panic!("not an event");
    };
    assert_eq!(
        (raised.name.as_str(), raised.input.as_deref()),
        ("go", Some("7"))
    );

    client.suspend("abc", "lunch").await.unwrap();
    let Got::Suspended(suspended) = fake.next().await else {
        panic!("not a suspension");
    };
    assert_eq!(suspended.reason.as_deref(), Some("lunch"));
    client.resume("abc", "back").await.unwrap();
    let Got::Resumed(resumed) = fake.next().await else {
        panic!("not a resumption");
    };
    assert_eq!(resumed.reason.as_deref(), Some("back"));

    client
        .terminate("abc", "enough", Recursive::Yes)
        .await
        .unwrap();
    let Got::Terminated(terminated) = fake.next().await else {
        panic!("not a termination");
    };
    assert_eq!(terminated.output.as_deref(), Some("\"enough\""));
    assert!(terminated.recursive);
    client.terminate("abc", &(), Recursive::No).await.unwrap();
    let Got::Terminated(terminated) = fake.next().await else {
        panic!("not a termination");
    };
    assert!(!terminated.recursive);
}

#[tokio::test]
async fn an_instance_is_restarted_and_rewound() {
    let mut fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    let restart = |restart_as| client.restart("abc", restart_as);
    assert_eq!(restart(RestartAs::SameInstance).await.unwrap(), "abc");
    assert!(
        matches!(fake.next().await, Got::Restarted(request) if !request.restart_with_new_instance_id)
    );
    assert_eq!(restart(RestartAs::NewInstance).await.unwrap(), "another");
    assert!(
        matches!(fake.next().await, Got::Restarted(request) if request.restart_with_new_instance_id)
    );

    client.rewind("abc", "fixed").await.unwrap();
    assert!(
        matches!(fake.next().await, Got::Rewound(request) if request.reason.as_deref() == Some("fixed"))
    );

    fake.answer_commands(vec![
        Err(Status::not_found("")),
        Err(Status::failed_precondition("it runs")),
        Err(Status::unavailable("busy")),
    ]);
    assert!(matches!(
        client.rewind("abc", "").await,
        Err(ClientError::NotFound { .. })
    ));
    assert!(matches!(
        restart(RestartAs::SameInstance).await,
        Err(ClientError::InvalidState(_))
    ));
    // A mutation is sent once; whether to repeat it is the caller's to decide.
    assert!(matches!(
        client.rewind("abc", "").await,
        Err(ClientError::Unavailable(_))
    ));
}

#[tokio::test]
async fn ids_are_listed_page_by_page() {
    let mut fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    let page = |id: &str, key: Option<&str>| {
        Ok(proto::ListInstanceIdsResponse {
            instance_ids: vec![id.to_owned()],
            last_instance_key: key.map(str::to_owned),
        })
    };
    fake.answer_id_pages(vec![
        page("a", Some("1")),
        Err(Status::unavailable("busy")),
        page("b", Some("2")),
        page("c", Some("")),
    ]);
    let query = InstanceIdQuery::new()
        .statuses([Runtime::Failed])
        .completed_from(DateTime::from_timestamp(5, 0).unwrap())
        .page_size(1);
    let ids: Vec<String> = client.list_instance_ids(query).try_collect().await.unwrap();
    assert_eq!(ids, ["a", "b", "c"]);
    let mut keys = Vec::new();
    for _ in 0..4 {
        let Got::ListedIds(request) = fake.next().await else {
            panic!("not a listing");
        };
        assert_eq!((request.page_size, request.runtime_status.len()), (1, 1));
        keys.push(request.last_instance_key.unwrap_or_default());
    }
    assert_eq!(keys, ["", "1", "1", "2"]);
}

#[tokio::test]
async fn a_purge_says_what_is_to_go() {
    let mut fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    let answer = |deleted, complete| {
        Ok(proto::PurgeInstancesResponse {
            deleted_instance_count: deleted,
            is_complete: complete,
        })
    };
    fake.answer_purges(vec![answer(500, None), answer(1, Some(false))]);
    let ids = (0..501).map(|n| format!("id-{n}"));
    let purged = client.purge_batch(ids, Recursive::Yes).await.unwrap();
    assert_eq!((purged.deleted, purged.complete), (501, false));
    for expected in [500, 1] {
        let Got::Purged(request) = fake.next().await else {
            panic!("not a purge");
        };
        assert!(request.recursive && request.is_orchestration);
        let Some(proto::purge_instances_request::Request::InstanceBatch(batch)) = request.request
        else {
            panic!("not a batch");
        };
        assert_eq!(batch.instance_ids.len(), expected);
    }

    // It goes on while something is deleted, and gives up when nothing is.
    fake.answer_purges(vec![answer(3, Some(false)), answer(0, Some(false))]);
    let filter = PurgeFilter::new()
        .statuses([Runtime::Completed])
        .timeout(Duration::from_secs(2))
        .recursive(Recursive::Yes);
    let purged = client.purge_all_where(&filter).await.unwrap();
    assert_eq!((purged.deleted, purged.complete), (3, false));
    let Got::Purged(request) = fake.next().await else {
        panic!("not a purge");
    };
    assert!(request.recursive);
    let Some(proto::purge_instances_request::Request::PurgeInstanceFilter(wire)) = request.request
    else {
        panic!("not a filter");
    };
    assert_eq!(wire.runtime_status, [1]);
    assert_eq!(wire.timeout.unwrap().seconds, 2);
}

#[tokio::test]
async fn a_history_is_streamed_in_order() {
    let fake = Fake::start().await;
    let client = Client::new(&fake.connection()).unwrap();
    let event = |event_id, event_type| proto::HistoryEvent {
        event_id,
        timestamp: None,
        event_type: Some(event_type),
    };
    use proto::history_event::EventType;
    fake.set_history(vec![
        event(
            -1,
            EventType::OrchestratorStarted(proto::OrchestratorStartedEvent {}),
        ),
        event(
            0,
            EventType::TaskScheduled(proto::TaskScheduledEvent {
                name: "greet".into(),
                version: Some("1.2".into()),
                input: Some("7".into()),
                ..Default::default()
            }),
        ),
    ]);
    let events: Vec<_> = client.history("abc").try_collect().await.unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(
        events[1].payload,
        HistoryPayload::TaskScheduled {
            name: "greet".into(),
            version: Some("1.2".into()),
            input: Some("7".into()),
        }
    );
    fake.set_history(Vec::new());
    let events: Vec<_> = client.history("abc").try_collect().await.unwrap();
    assert!(events.is_empty());
}
