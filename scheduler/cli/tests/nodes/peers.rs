//! Nodes that call each other: every one of them answers, whichever owns the task hubs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use durabletask_proto::*;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, generate_simple_self_signed,
};
use serde_json::Value;
use tonic::Code;

use crate::support::*;
use crate::{TAKEN_OVER, database, ready, turn};

/// The nodes and terms that a node's dashboard shows.
pub(crate) async fn members(process: &Process) -> Value {
    let (status, text) = http_as(&process.http, None, "/api/nodes").await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The name of the owner, as a node sees it.
pub(crate) async fn owner(process: &Process) -> Option<String> {
    let members = members(process).await;
    let nodes = members["nodes"].as_array().unwrap();
    let owner = nodes.iter().find(|node| node["owns"] == true)?;
    Some(owner["name"].as_str().unwrap().to_owned())
}

/// The value of a metric without labels, or with these.
async fn metric(process: &Process, name: &str) -> f64 {
    let (_, text) = http_as(&process.http, None, "/metrics").await;
    let begin = format!("durabletask_scheduler_{name} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&begin));
    line.unwrap_or_else(|| panic!("{name} in {text}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn every_node_answers_and_goes_on_when_the_owner_is_killed() {
    let Some(url) = database() else { return };
    let owner = Process::peer(&url, "first", &[]);
    owner.until_ready().await;
    let mut rest = vec![
        Process::peer(&url, "second", &[]),
        Process::peer(&url, "third", &[]),
    ];
    for node in &rest {
        node.until_ready().await;
        assert_eq!(crate::peers::owner(node).await.as_deref(), Some("first"));
    }
    // A worker at one, a client at the other, and neither owns anything.
    start(&rest[0].client(), "default", "a").await.unwrap();
    let (item, stream) = turn(&rest[1].client()).await;
    assert!(matches!(
        item.request,
        Some(work_item::Request::OrchestratorRequest(request)) if request.instance_id == "a"
    ));
    drop(stream);
    assert!(metric(&rest[0], "forwarded_calls_total{outcome=\"answered\"}").await >= 1.0);
    assert_eq!(metric(&rest[0], "owns_task_hubs").await, 0.0);
    let begun = Instant::now();
    while metric(&rest[0], "nodes").await != 3.0 {
        assert!(begun.elapsed() < PATIENCE, "it learns of the third one");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(metric(&owner, "leases_taken_total").await, 1.0);
    assert_eq!(metric(&owner, "leases_lost_total").await, 0.0);
    // The list of task hubs is that of the owner.
    let (status, text) = http_as(&rest[0].http, None, "/api/hubs").await;
    assert_eq!(status, 200, "{text}");
    let hubs: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(hubs["hubs"][0]["instances"]["PENDING"], 1, "{text}");

    owner.kill();
    let begun = Instant::now();
    for (number, node) in rest.iter().enumerate() {
        let id = format!("after-{number}");
        start(&node.client(), "default", &id).await.unwrap();
        assert!(exists(&node.client(), "default", "a").await);
    }
    let took = begun.elapsed();
    println!("both others answered {took:?} after the owner was killed");
    assert!(took < TAKEN_OVER, "{took:?}");
    // Each of them shows who it is now, and why.
    let mut now = Vec::new();
    for node in &rest {
        while members(node).await["terms"][0]["number"] == 1 {
            assert!(begun.elapsed() < PATIENCE, "it learns of the new owner");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let shown = members(node).await;
        let why = "the lease of the former owner ended";
        assert_eq!(shown["terms"][0]["reason"], why, "{shown}");
        let name = crate::peers::owner(node).await.unwrap();
        assert_eq!(shown["terms"][0]["node"], name.as_str(), "{shown}");
        now.push(name);
    }
    assert_eq!(now[0], now[1], "they agree");
    // The one that is left answers alone, too.
    let owns = usize::from(now[0] == "third");
    rest.remove(owns).kill();
    start(&rest[0].client(), "default", "alone").await.unwrap();
    assert_eq!(ready(&rest[0]).await.0, 200);
}

/// The owner is stopped under load, and no call of anyone fails: not at the nodes that stay, nor at the one
/// that ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_stopped_hands_over_without_a_failed_call() {
    let Some(url) = database() else { return };
    let mut owner = Process::peer(&url, "node-0", &[]);
    owner.until_ready().await;
    for round in 1..=3 {
        let other = Process::peer(&url, &format!("node-{round}"), &[]);
        other.until_ready().await;
        let (stop, count) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let calling: Vec<_> = (0..4)
            .map(|caller| {
                let (client, stop, count) = (other.client(), Arc::clone(&stop), Arc::clone(&count));
                tokio::spawn(async move {
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let id = format!("r{round}-{caller}-{number}");
                        start(&client, "default", &id).await.unwrap();
                        assert!(exists(&client, "default", &id).await);
                        count.fetch_add(1, Ordering::Relaxed);
                        number += 1;
                    }
                })
            })
            .collect();
        until(|| count.load(Ordering::Relaxed) > 40).await;
        // Those that are here when it is asked to stop are answered, too.
        let (waiting, asked) = (owner.client(), owner.client());
        start(&asked, "default", &format!("last-{round}"))
            .await
            .unwrap();
        let waits =
            tokio::spawn(async move { wait_for_start(&waiting, &format!("last-{round}")).await });
        let begun = Instant::now();
        let ended = tokio::task::spawn_blocking(move || owner.terminate());
        assert!(ended.await.unwrap().success());
        let took = begun.elapsed();
        let before = count.load(Ordering::Relaxed);
        until(|| count.load(Ordering::Relaxed) > before + 40).await;
        stop.store(true, Ordering::Relaxed);
        for one in calling {
            one.await.unwrap();
        }
        let code = waits.await.unwrap();
        assert!(matches!(code, Code::Ok | Code::Unavailable), "{code:?}");
        println!(
            "stopped within {took:?}, {} calls, none failed",
            count.load(Ordering::Relaxed)
        );
        assert_eq!(
            crate::peers::owner(&other).await,
            Some(format!("node-{round}"))
        );
        owner = other;
    }
    let shown = members(&owner).await;
    let why = "the former owner handed over";
    assert_eq!(shown["terms"][0]["reason"], why, "{shown}");
    // What the nodes say of each other is read now and then.
    let begun = Instant::now();
    loop {
        let shown = members(&owner).await;
        let listed = shown["nodes"].as_array().unwrap();
        if listed.iter().filter(|node| node["live"] == true).count() == 1 {
            break;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "those that ended are not listed: {shown}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn wait_for_start(client: &Client, id: &str) -> Code {
    let get = GetInstanceRequest {
        instance_id: id.to_owned(),
        get_inputs_and_outputs: false,
    };
    let answer = client
        .clone()
        .wait_for_instance_start(to_hub("default", get))
        .await;
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

async fn until(reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < PATIENCE, "it goes on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a node is not ready for this reason.
async fn until_not_ready(process: &Process, why: &str) {
    let begun = Instant::now();
    loop {
        let (status, text) = ready(process).await;
        if status == 503 && text.contains(why) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{status} {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_node_is_not_ready_if_it_cannot_call_the_owner() {
    let Some(url) = database() else { return };
    let owner = Process::node(&url, "deaf", &[]);
    owner.until_ready().await;
    let node = Process::peer(&url, "caller", &[]);
    until_not_ready(
        &node,
        "the node deaf owns the task hubs, and others cannot call it",
    )
    .await;
    let refused = start(&node.client(), "default", "a").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    // The one that owns them answers, and it is the other's turn once it ends.
    start(&owner.client(), "default", "a").await.unwrap();
    assert!(owner.terminate().success());
    node.until_ready().await;
    assert!(exists(&node.client(), "default", "a").await);
    // The others cannot call one that publishes a wrong address.
    let lost = "127.0.0.1:9";
    let second = Process::peer(&url, "second", &["--peer-address", lost]);
    second.until_ready().await;
    assert!(exists(&second.client(), "default", "a").await);
    assert!(node.terminate().success());
    second.until_ready().await;
    let third = Process::peer(&url, "third", &[]);
    until_not_ready(&third, "cannot be reached from here").await;
}

#[tokio::test]
async fn nodes_present_the_operators_certificates() {
    let Some(url) = database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join(format!("{name}-ca.pem")), root.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let made = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.path().join(format!("{name}.pem")), made.pem()).unwrap();
        std::fs::write(
            folder.path().join(format!("{name}-key.pem")),
            key.serialize_pem(),
        )
        .unwrap();
    };
    authority("ours");
    authority("theirs");
    let start_with = |name: &str, of: &str| {
        let file = |what: &str| {
            folder
                .path()
                .join(format!("{of}{what}.pem"))
                .display()
                .to_string()
        };
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let (listen, address) = (format!("127.0.0.1:{port}"), format!("localhost:{port}"));
        let (cert, key, ca) = (file(""), file("-key"), file("-ca"));
        Process::peer(
            &url,
            name,
            &[
                "--peer-listen",
                &listen,
                "--peer-address",
                &address,
                "--peer-cert",
                &cert,
                "--peer-key",
                &key,
                "--peer-ca",
                &ca,
            ],
        )
    };
    let owner = start_with("owner", "ours");
    owner.until_ready().await;
    let second = start_with("second", "ours");
    second.until_ready().await;
    start(&second.client(), "default", "a").await.unwrap();
    let stranger = start_with("stranger", "theirs");
    until_not_ready(&stranger, "TLS failed").await;
}

#[test]
fn settings_for_other_nodes_that_do_not_fit() {
    let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert, empty) = (
        folder.path().join("cert.pem"),
        folder.path().join("empty.pem"),
    );
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&empty, "").unwrap();
    let (cert, empty) = (cert.display().to_string(), empty.display().to_string());
    for (arguments, with) in [
        (&["--peer-listen", "somewhere"][..], "--peer-listen must be"),
        (&["--peer-listen", "0.0.0.0:0"], "--peer-address"),
        (
            &["--peer-listen", "127.0.0.1:0", "--peer-address", "node"],
            "--peer-address",
        ),
        (&["--peer-address", "node:1"], "--peer-listen"),
        (
            &["--peer-listen", "127.0.0.1:0", "--peer-cert", &cert],
            "--peer-key",
        ),
        (
            &[
                "--peer-listen",
                "127.0.0.1:0",
                "--peer-cert",
                &cert,
                "--peer-key",
                &empty,
                "--peer-ca",
                &cert,
            ],
            "--peer-cert, --peer-key, --peer-ca",
        ),
    ] {
        let output = program()
            .args([
                "--database-url",
                "postgresql://a@127.0.0.1:9/hub",
                "--listen",
                "127.0.0.1:0",
            ])
            .args(["--dashboard", "none"])
            .args(arguments)
            .output()
            .unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(with), "{arguments:?}: {text}");
    }
    // Only schedulers on one database call each other.
    let output = program()
        .args(["--memory", "--peer-listen", "127.0.0.1:0"])
        .output();
    assert_eq!(output.unwrap().status.code(), Some(2));
}
