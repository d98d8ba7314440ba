//! Making and deleting task hubs.

use durabletask_proto::*;
use tonic::{Code, Request};

use super::support::*;

fn to<T>(hub: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("taskhub", hub.parse().unwrap());
    request
}

async fn start(hub: &Hub, name: &str, id: &str) -> Result<(), Code> {
    let start = CreateInstanceRequest {
        instance_id: id.into(),
        name: "Hello".into(),
        ..Default::default()
    };
    let answer = hub.client.clone().start_instance(to(name, start)).await;
    answer.map(|_| ()).map_err(|s| s.code())
}

async fn exists(hub: &Hub, name: &str, id: &str) -> bool {
    let get = GetInstanceRequest {
        instance_id: id.into(),
        ..Default::default()
    };
    let answer = hub.client.clone().get_instance(to(name, get)).await;
    answer.unwrap().into_inner().exists
}

async fn delete(hub: &Hub, name: &str) -> Result<(), Code> {
    let request = to(name, DeleteTaskHubRequest {});
    let answer = hub.client.clone().delete_task_hub(request).await;
    answer.map(|_| ()).map_err(|s| s.code())
}

async fn create(hub: &Hub, name: &str, anew: bool) -> Result<(), Code> {
    let request = CreateTaskHubRequest {
        recreate_if_exists: anew,
    };
    let answer = hub.client.clone().create_task_hub(to(name, request)).await;
    answer.map(|_| ()).map_err(|s| s.code())
}

/// Reads past pings and late items to the end of a stream.
async fn end_of(worker: &mut Worker) -> Code {
    let reading = async {
        loop {
            match worker.stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Code::Ok,
                Err(status) => return status.code(),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("an end in time")
}

#[tokio::test]
async fn a_deleted_hub_takes_everything_along() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::folder(folder.path()).await;
    create(&hub, "doomed", false).await.unwrap();
    create(&hub, "doomed", false).await.unwrap();
    let mut worker = hub
        .worker_with(GetWorkItemsRequest::default(), "doomed")
        .await;
    start(&hub, "doomed", "a").await.unwrap();
    start(&hub, "kept", "a").await.unwrap();
    let (token, _) = worker.turn().await;
    worker
        .answer(&token, vec![(0, call("Greet")), (1, call("Greet"))])
        .await
        .unwrap();
    let (held, _) = worker.activity().await;
    let waiting = {
        let mut client = hub.client.clone();
        let get = GetInstanceRequest {
            instance_id: "a".into(),
            ..Default::default()
        };
        tokio::spawn(async move { client.wait_for_instance_completion(to("doomed", get)).await })
    };

    delete(&hub, "doomed").await.unwrap();
    assert_eq!(end_of(&mut worker).await, Code::NotFound);
    assert_eq!(delete(&hub, "doomed").await, Err(Code::NotFound));
    assert_eq!(worker.finish(&held, "1").await, Err(Code::NotFound));
    let waited = tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    assert_eq!(waited.unwrap().unwrap_err().code(), Code::NotFound);
    assert!(exists(&hub, "kept", "a").await);

    // The same name is another hub: nothing of the old one is in it, now or later.
    assert!(!exists(&hub, "doomed", "a").await);
    start(&hub, "doomed", "a").await.unwrap();
    hub.crash().await;
    let hub = Hub::folder(folder.path()).await;
    let mut worker = hub
        .worker_with(GetWorkItemsRequest::default(), "doomed")
        .await;
    let (token, turn) = worker.turn().await;
    assert_eq!(
        kinds(&turn.new_events),
        ["OrchestratorStarted", "ExecutionStarted"]
    );
    worker.answer(&token, vec![(0, done("1"))]).await.unwrap();
    create(&hub, "doomed", true).await.unwrap();
    assert!(!exists(&hub, "doomed", "a").await);
}

#[tokio::test]
async fn the_number_of_hubs_is_bounded() {
    // The default one is there from the start.
    let hub = Hub::with(|config| config.max_task_hubs = 3).await;
    start(&hub, "one", "a").await.unwrap();
    start(&hub, "two", "a").await.unwrap();
    assert_eq!(
        start(&hub, "three", "a").await,
        Err(Code::ResourceExhausted)
    );
    assert_eq!(
        create(&hub, "three", true).await,
        Err(Code::ResourceExhausted)
    );
    create(&hub, "one", true).await.unwrap();
    delete(&hub, "one").await.unwrap();
    start(&hub, "three", "a").await.unwrap();
}

#[tokio::test]
async fn names_that_differ_in_case_are_one_task_hub() {
    let hub = Hub::memory().await;
    start(&hub, "Orders", "a").await.unwrap();
    assert!(exists(&hub, "orders", "a").await);
    assert_eq!(
        start(&hub, "ORDERS", "a").await,
        Err(Code::AlreadyExists),
        "it is the same one"
    );
    assert!(!exists(&hub, "orders2", "a").await);
    delete(&hub, "oRdErS").await.unwrap();
    assert!(!exists(&hub, "Orders", "a").await);
}
