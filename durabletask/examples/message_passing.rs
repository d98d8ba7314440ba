//! Queries, updates and an event in one orchestration, which greets in a language that can be changed
//! until it is approved. After Temporal's sample `message_passing/introduction`.
//!
//! `cargo run -p durabletask-sdk --example message_passing` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use durabletask::testing::TestHub;
use durabletask::{
    Activity, Either, Event, Failure, Orchestration, OrchestrationContext, Query, Registry, Update,
    select,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The greeting in a language, if the service knows it.
const TRANSLATE: Activity<String, Option<String>> = Activity::new("translate");
const LANGUAGES: Query<(), Vec<String>> = Query::new("languages");
/// Changes the language; the answer is the one before.
const SET_LANGUAGE: Update<String, String> = Update::new("set-language");
const APPROVE: Event<String> = Event::new("approve");
const GREET: Orchestration<(), Greeting> = Orchestration::new("greet");

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Greeting {
    text: String,
    approved_by: String,
}

struct State {
    language: String,
    greetings: BTreeMap<String, String>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn greet(ctx: OrchestrationContext, (): ()) -> Result<Greeting, Failure> {
    let greetings = [("Chinese", "你好，世界"), ("English", "Hello, world")];
    let state = Arc::new(Mutex::new(State {
        language: "English".to_owned(),
        greetings: greetings.map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
    }));
    let asked = Arc::clone(&state);
    ctx.answer_query(&LANGUAGES, move |()| {
        Ok(lock(&asked).greetings.keys().cloned().collect())
    });
    loop {
        let approved = ctx.wait_for_event(&APPROVE);
        match select(approved, ctx.wait_for_update(&SET_LANGUAGE)).await {
            Either::Left(who) => {
                let state = lock(&state);
                let text = state.greetings.get(&state.language).cloned();
                return Ok(Greeting {
                    text: text.unwrap_or_default(),
                    approved_by: who?,
                });
            }
            // One update at a time, so none sees the middle of another.
            Either::Right((language, reply)) => {
                if !lock(&state).greetings.contains_key(&language) {
                    let Some(text) = ctx.call_activity(&TRANSLATE, &language).await? else {
                        reply.refuse(format!("{language} is not supported"));
                        continue;
                    };
                    lock(&state).greetings.insert(language.clone(), text);
                }
                let before = std::mem::replace(&mut lock(&state).language, language);
                reply.accept(&before)?;
            }
        }
    }
}

/// Two changes of the language, a third that is refused, and the approval.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let minute = |n: u64| Duration::from_secs(60 * n);
    let run = TestHub::new(Registry::new().orchestration(&GREET, greet))
        .update(minute(1), "first", &SET_LANGUAGE, "Chinese")
        .update(minute(2), "second", &SET_LANGUAGE, "French")
        .update(minute(3), "third", &SET_LANGUAGE, "Klingon")
        .raise_event(minute(4), &APPROVE, "Ada")
        .run(&GREET, &(), |_, language| {
            Ok(match language.as_str() {
                Some("French") => json!("Bonjour, monde"),
                _ => Value::Null,
            })
        });
    let greeting = run.output()?;
    println!("{} (approved by {})", greeting.text, greeting.approved_by);
    assert_eq!(greeting.text, "Bonjour, monde");
    let answer = |update: &str| run.update_answer(update, &SET_LANGUAGE);
    assert_eq!(answer("first"), Some(Ok("English".to_owned())));
    assert_eq!(answer("second"), Some(Ok("Chinese".to_owned())));
    assert!(
        matches!(answer("third"), Some(Err(refused)) if refused.to_string().contains("Klingon"))
    );
    assert_eq!(
        run.query(&LANGUAGES, &())?,
        ["Chinese", "English", "French"]
    );
    Ok(())
}
