//! Runs of agents on a real scheduler.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use durabletask::{ActivityContext, ClientError, Failure};
use durabletask_agent::schemars::JsonSchema;
use durabletask_agent::{
    Agent, AgentBuilder, AgentError, AgentRequest, Budget, ChatReply, Decision, Finish, Message,
    Price, Stop, Tool, Usage,
};
use serde::Deserialize;
use serde_json::json;
use support::{Hub, PATIENCE, Script, USED, call, calls, says};

#[derive(Deserialize, JsonSchema)]
struct Order {
    /// The order's number.
    number: u32,
}

fn status() -> Tool {
    let handler = async |_: ActivityContext, order: Order| match order.number {
        404 => Err(Failure::new("NoSuchOrder", "there is no order 404").permanent()),
        number => Ok(json!({ "number": number, "sent": true })),
    };
    Tool::new("order_status", "Says where an order is", handler)
}

/// Counts how often it ran.
fn cancel(times: &Arc<AtomicU32>) -> Tool {
    let times = Arc::clone(times);
    let handler = move |_: ActivityContext, order: Order| {
        times.fetch_add(1, Ordering::Relaxed);
        async move { Ok(format!("order {} is canceled", order.number)) }
    };
    Tool::new("cancel_order", "Cancels an order", handler)
}

fn agent(script: &Script) -> AgentBuilder {
    Agent::builder("support", script.clone()).instructions("Be brief.")
}

/// The results that the model was given last.
fn results(script: &Script) -> Vec<String> {
    let asked = script.asked();
    let messages = asked.last().unwrap().messages.iter().rev();
    let mut results: Vec<String> = messages
        .map_while(|message| match message {
            Message::Tool { content, .. } => Some(content.clone()),
            _ => None,
        })
        .collect();
    results.reverse();
    results
}

#[tokio::test]
async fn a_model_calls_its_tools_until_it_has_an_answer() {
    let hub = Hub::open().await;
    let script = Script::of([
        calls(&[
            ("order_status", json!({"number": 7})),
            ("order_status", json!({"number": 8})),
        ]),
        says("both were sent"),
    ]);
    let agent = agent(&script).tool(status()).build().unwrap();
    let worker = hub.worker(&agent);
    let answer = hub.answer(&agent, &AgentRequest::new("7 and 8?")).await;
    assert_eq!(answer.text.as_deref(), Some("both were sent"));
    assert_eq!((answer.stop, answer.cost), (Stop::Answered, None));
    assert_eq!(answer.usage.total(), 2 * USED.total());
    let [first, second] = <[_; 2]>::try_from(script.asked()).unwrap();
    assert_eq!(
        first.messages,
        [Message::system("Be brief."), Message::user("7 and 8?")]
    );
    assert_eq!(
        first.tools[0].parameters["properties"]["number"]["type"],
        "integer"
    );
    assert_eq!(second.messages[..2], first.messages);
    assert_eq!(second.messages[2..], answer.messages[1..4]);
    let sent = |number: u32| json!({"number": number, "sent": true}).to_string();
    assert_eq!(results(&script), [sent(7), sent(8)]);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn what_goes_wrong_is_for_the_model_to_read() {
    let hub = Hub::open().await;
    let long = Tool::with_schema("long", "", json!({}), async |_, _| {
        Ok(json!("x".repeat(70_000)))
    });
    let off = Tool::new("off", "", async |_: ActivityContext, (): ()| Ok(()));
    let wrong = ChatReply::calls(
        vec![
            call("a", "order_status", r#"{"number": 404}"#),
            call("a", "order_status", r#"{"number": "seven"}"#),
            call("b", "order_status", "{number: 7"),
            call("c", "no_such_tool", "{}"),
            call("d", "off", "{}"),
            call("e", "long", ""),
        ],
        USED,
    );
    let script = Script::of([wrong, says("sorry")]);
    let agent = agent(&script)
        .tool(status())
        .tool(off.refuse("orders cannot be changed today"))
        .tool(long)
        .build()
        .unwrap();
    let worker = hub.worker(&agent);
    let answer = hub.answer(&agent, &AgentRequest::new("?")).await;
    assert_eq!(answer.text.as_deref(), Some("sorry"));
    let results = results(&script);
    for (result, text) in results.iter().zip([
        "error: NoSuchOrder: there is no order 404",
        "error: InvalidArguments: invalid type: string",
        "error: the arguments are not JSON: ",
        "error: there is no such tool; there are: order_status, off, long",
        "refused: orders cannot be changed today",
        "error: the result has 70000 bytes, more than 65536",
    ]) {
        assert!(result.starts_with(text), "{result}");
    }
    assert_eq!(results.len(), 6);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_person_decides_within_a_week_or_the_call_is_refused() {
    let hub = Hub::open().await;
    let day = Duration::from_secs(24 * 3600);
    for (decision, ran, expected) in [
        (
            Some(Decision::approved().by("ada")),
            1,
            "order 7 is canceled",
        ),
        (
            Some(Decision::refused("it was sent")),
            0,
            "refused by a person: it was sent",
        ),
        (None, 0, "refused: nobody decided in time"),
    ] {
        let times = Arc::default();
        let both = [
            ("order_status", json!({"number": 7})),
            ("cancel_order", json!({"number": 7})),
        ];
        let script = Script::of([calls(&both), says("done")]);
        let agent = agent(&script)
            .tool(status())
            .tool(cancel(&times).ask_within(8 * day))
            .build()
            .unwrap();
        let worker = hub.worker(&agent);
        let run = hub.ask(&agent, &AgentRequest::new("Cancel 7")).await;
        let status = hub
            .status(run.id(), |status| !status.waiting.is_empty())
            .await;
        let [waiting] = status.waiting.as_slice() else {
            panic!("{status:?}")
        };
        assert_eq!(
            (waiting.id.as_str(), waiting.tool.as_str()),
            ("1-1", "cancel_order")
        );
        assert_eq!(waiting.arguments, json!({"number": 7}));
        hub.clock.advance(7 * day);
        match &decision {
            Some(decision) => {
                let event = Agent::decision(&waiting.id);
                run.raise_event(&event, decision).await.unwrap();
            }
            None => hub.clock.advance(2 * day),
        }
        let answer = run.result_within(PATIENCE).await.unwrap();
        assert_eq!(answer.stop, Stop::Answered);
        assert_eq!(results(&script)[1], expected);
        assert_eq!(times.load(Ordering::Relaxed), ran);
        worker.stop().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_decision_approves_nothing() {
    let hub = Hub::open().await;
    let times = Arc::default();
    let script = Script::of([calls(&[("cancel_order", json!({"number": 7}))]), says("no")]);
    let tool = cancel(&times).ask();
    let agent = agent(&script).tool(tool).build().unwrap();
    let worker = hub.worker(&agent);
    let run = hub.ask(&agent, &AgentRequest::new("Cancel 7")).await;
    let event = durabletask::Event::<String>::new("decision-1-0");
    run.raise_event(&event, "approved").await.unwrap();
    run.result_within(PATIENCE).await.unwrap();
    assert_eq!(
        results(&script),
        ["refused: the decision could not be read"]
    );
    assert_eq!(times.load(Ordering::Relaxed), 0);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_budget_ends_a_run_with_what_it_has() {
    let hub = Hub::open().await;
    let look = || calls(&[("order_status", json!({"number": 7}))]);
    let price = Price {
        input: 1_000_000,
        output: 10_000_000,
    };
    for (budget, asked, stop, cost, most) in [
        (Budget::new().calls(2), 2, Stop::Calls, None, None),
        (Budget::new().tokens(250), 3, Stop::Tokens, None, Some(50)),
        // A call costs 90 + 100.
        (
            Budget::new().cost(380, price),
            2,
            Stop::Cost,
            Some(380),
            Some(19),
        ),
    ] {
        let script = Script::of(std::iter::repeat_with(look).take(9));
        let agent = agent(&script)
            .tool(status())
            .budget(budget)
            .build()
            .unwrap();
        let worker = hub.worker(&agent);
        let answer = hub.answer(&agent, &AgentRequest::new("?")).await;
        assert_eq!((answer.stop, answer.cost), (stop, cost));
        assert_eq!(script.asked().len(), asked);
        assert_eq!(script.asked().last().unwrap().max_output_tokens, most);
        assert_eq!(answer.usage.total(), asked as u64 * USED.total());
        assert_eq!(answer.text, None);
        worker.stop().await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_off_says_so_and_calls_nothing() {
    let hub = Hub::open().await;
    let mut cut = calls(&[("order_status", json!({"number": 7}))]);
    cut.content = Some("I will".to_owned());
    cut.finish = Finish::Length;
    let script = Script::of([cut]);
    let agent = agent(&script).tool(status()).build().unwrap();
    let worker = hub.worker(&agent);
    let answer = hub.answer(&agent, &AgentRequest::new("?")).await;
    assert_eq!(
        (answer.stop, answer.text.as_deref()),
        (Stop::Length, Some("I will"))
    );
    let last = answer.messages.last().unwrap();
    assert!(
        matches!(last, Message::Tool { content, .. } if content.contains("cut off")),
        "{last:?}"
    );
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_busy_model_is_waited_for_and_a_forbidden_one_is_not() {
    let hub = Hub::open().await;
    let hour = Duration::from_secs(3_600);
    let busy = Failure::new("ModelRateLimited", "later").retry_after(hour);
    let script = Script::of([says("here")]).fails_first(busy);
    let agent = agent(&script).build().unwrap();
    let worker = hub.worker(&agent);
    let run = hub.ask(&agent, &AgentRequest::new("?")).await;
    let mut waited = Duration::ZERO;
    let waits = async {
        loop {
            match run.result_within(Duration::from_millis(50)).await {
                Err(ClientError::Timeout { .. }) => hub.clock.advance(hour / 4),
                ended => return ended.unwrap(),
            }
            waited += hour / 4;
        }
    };
    let answer = tokio::time::timeout(PATIENCE, waits).await.unwrap();
    assert!(waited >= hour, "it was asked again after {waited:?}");
    assert_eq!(answer.text.as_deref(), Some("here"));

    // The script is over, which is permanent.
    let run = hub.ask(&agent, &AgentRequest::new("?")).await;
    let failed = run.result_within(PATIENCE).await;
    let Err(ClientError::Failed { .. }) = &failed else {
        panic!("{failed:?}")
    };
    assert_eq!(script.asked().len(), 3);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_session_is_continued_in_turns_and_deleted_after_its_time() {
    let hub = Hub::open().await;
    let script = Script::of(["one", "two", "three", "four"].map(says));
    let hour = Duration::from_secs(3_600);
    let agent = agent(&script).sessions(hour, 4).build().unwrap();
    let worker = hub.worker(&agent);
    let ask = |text: &str| AgentRequest::new(text).session("ada");
    let said = |script: &Script| script.asked().last().unwrap().messages[1..].to_vec();
    let (one, two) = (Message::user("1"), Message::assistant("one"));
    hub.answer(&agent, &ask("1")).await;
    assert_eq!(said(&script), std::slice::from_ref(&one));
    hub.answer(&agent, &ask("2")).await;
    assert_eq!(said(&script), [one, two, Message::user("2")]);
    // Two messages were forgotten by the third answer, since four are kept.
    hub.answer(&agent, &ask("3")).await;
    hub.answer(&agent, &AgentRequest::new("4").session("bob"))
        .await;
    assert_eq!(said(&script), [Message::user("4")]);
    let sessions = durabletask::Entity::<serde_json::Value>::new("support-session");
    let kept = hub
        .client
        .get_entity_state(&sessions.id("ada"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept["messages"].as_array().unwrap().len(), 4);
    assert_eq!(kept["messages"][0]["content"], "2");

    hub.clock.advance(2 * hour);
    let gone = async {
        while hub
            .client
            .get_entity_state(&sessions.id("ada"))
            .await
            .unwrap()
            .is_some()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_an_agent_is_refused() {
    let script = Script::default();
    let tool = |name: &str| Tool::new(name, "", async |_: ActivityContext, (): ()| Ok(()));
    let build = |change: &dyn Fn(AgentBuilder) -> AgentBuilder| change(agent(&script)).build();
    let twice = build(&|agent| agent.tool(tool("a")).tool(tool("a")));
    assert_eq!(twice.err(), Some(AgentError::TwoTools("a".to_owned())));
    for name in ["", "two words", "ü", &"x".repeat(65)] {
        let wrong = build(&|agent| agent.tool(tool(name))).err();
        assert_eq!(wrong, Some(AgentError::ToolName(name.to_owned())));
    }
    let once = build(&|agent| agent.tool(tool("pay").once_only())).err();
    assert_eq!(once, Some(AgentError::NoClient("pay".to_owned())));
    for name in ["", "a@b", &"x".repeat(100)] {
        let wrong = Agent::builder(name, script.clone()).build().err();
        assert!(
            matches!(wrong, Some(AgentError::Name { .. })),
            "{name}: {wrong:?}"
        );
    }
    assert_eq!(Usage::default().total(), 0);
}
