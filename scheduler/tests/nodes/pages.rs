//! The dashboard of a node shows the task hubs of all of them.

use durabletask_proto::*;
use serde_json::{Value, json};

use crate::support::nodes::{FakeTable, NodeAt};

async fn start(node: &NodeAt, hub: &str, id: &str) {
    let mut request = tonic::Request::new(CreateInstanceRequest {
        instance_id: id.into(),
        name: "Hello".into(),
        ..Default::default()
    });
    request
        .metadata_mut()
        .insert("taskhub", hub.parse().unwrap());
    node.client().start_instance(request).await.unwrap();
}

fn json_of((status, text): (u16, String)) -> Value {
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn each_page_is_answered_where_its_task_hub_is() {
    let table = FakeTable::new();
    let one = NodeAt::open(&table).await;
    let two = NodeAt::open(&table).await;
    let none = NodeAt::open(&table).await;
    table.give("default", &one.id);
    table.give("Zwei %/=", &two.id);
    start(&none, "default", "a").await;
    start(&none, "default", "b").await;
    start(&none, "Zwei %/=", "c").await;
    for node in [&one, &two, &none] {
        let list = json_of(node.text("/api/hubs").await);
        let hub = |name: &str, instances: u32, at: &NodeAt| {
            json!({
                "name": name,
                "instances": {"PENDING": instances},
                "workers": 0,
                "node": &*at.id,
            })
        };
        let hubs = json!([hub("Zwei %/=", 1, &two), hub("default", 2, &one)]);
        assert_eq!(list, json!({"hubs": hubs, "trouble": null}));
        let page = json_of(node.text("/api/hubs/default/instances?sort=id").await);
        assert_eq!(page["instances"].as_array().unwrap().len(), 2);
        let page = json_of(node.text("/api/hubs/Zwei%20%25%2F%3D/instances/c").await);
        assert_eq!(page["instance"]["id"], "c", "{page}");
        let raise = reqwest::Client::new()
            .post(format!(
                "http://{}/api/hubs/default/instances/a/raise-event",
                node.dashboard
            ))
            .json(&json!({"name": "go"}))
            .send();
        assert_eq!(raise.await.unwrap().status(), 200);
        assert_eq!(node.text("/api/hubs/default/instances/none").await.0, 404);
    }
}

#[tokio::test]
async fn what_a_node_cannot_ask_about_it_says() {
    let table = FakeTable::new();
    let one = NodeAt::open(&table).await;
    let front = NodeAt::open(&table).await;
    let (listener, address) = crate::support::nodes::bind().await;
    drop(listener);
    let gone = crate::peer::Certified::new().node("gone", address);
    table.join(gone);
    table.give("default", &one.id);
    table.give("lost", "gone");
    start(&front, "default", "a").await;
    let list = json_of(front.text("/api/hubs").await);
    assert_eq!(list["hubs"][0]["instances"], json!({"PENDING": 1}));
    let trouble = list["trouble"].as_str().unwrap();
    assert!(trouble.contains("gone"), "{trouble}");
    let (status, text) = front.text("/api/hubs/lost/instances").await;
    assert_eq!(status, 503);
    assert!(text.contains("gone"), "{text}");
}
