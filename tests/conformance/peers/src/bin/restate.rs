//! Hello-cities on a Restate server that runs already, with services in this process.
//!
//! Arguments: instances, `calls` or `steps`, the addresses of the server's ingress and of its
//! administration. `calls` makes each greeting a durable call to another service, which is what an
//! activity is; `steps` makes it a step inside of the handler, whose result is recorded. Prints
//! the seconds from the first start to the last completion, and nothing else.

use durabletask_peers::{CITIES, hello, measure};
use reqwest::Client;
use restate_sdk::prelude::*;
use tokio::net::TcpListener;

const IN_FLIGHT: usize = 256;

struct Greeter;

#[service]
impl Greeter {
    #[handler]
    async fn say_hello(&self, _ctx: Context<'_>, city: String) -> HandlerResult<String> {
        Ok(hello(&city))
    }
}

struct HelloCities;

#[service]
impl HelloCities {
    #[handler]
    async fn calls(&self, ctx: Context<'_>, _number: u64) -> HandlerResult<Json<Vec<String>>> {
        let mut greetings = Vec::with_capacity(CITIES.len());
        for city in CITIES {
            let greeter = ctx.service_client::<GreeterClient>();
            greetings.push(greeter.say_hello(city.to_owned()).call().await?);
        }
        Ok(Json(greetings))
    }

    #[handler]
    async fn steps(&self, ctx: Context<'_>, _number: u64) -> HandlerResult<Json<Vec<String>>> {
        let mut greetings = Vec::with_capacity(CITIES.len());
        for city in CITIES {
            greetings.push(ctx.run(|| async move { Ok(hello(city)) }).await?);
        }
        Ok(Json(greetings))
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [instances, kind, ingress, admin] = &arguments[..] else {
        panic!("needs a number of instances, calls or steps, and two addresses");
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let endpoint = Endpoint::builder().bind(Greeter).bind(HelloCities).build();
    tokio::spawn(HttpServer::new(endpoint).serve(listener));
    let registered = Client::new()
        .post(format!("{admin}/deployments"))
        .json(&serde_json::json!({"uri": format!("http://{address}"), "force": true}))
        .send()
        .await
        .expect("the server can be administered");
    assert!(registered.status().is_success(), "{registered:?}");

    // One request starts an instance and waits for it: what the server does best.
    let client = Client::builder()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    let url = format!("{ingress}/HelloCities/{kind}");
    let (client, url) = (&client, &url);
    measure(
        instances.parse().expect("a number of instances"),
        IN_FLIGHT,
        |_| std::future::ready(()),
        |n| async move {
            let answer = client.post(url).json(&n).send().await.expect("an answer");
            answer.json().await.expect("a list")
        },
    )
    .await;
}
