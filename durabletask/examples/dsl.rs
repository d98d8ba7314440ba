//! A workflow that comes as data: statements in sequence or in parallel, whose activities read and
//! write variables. After Temporal's sample `dsl`.
//!
//! `cargo run -p durabletask-sdk --example dsl` runs it in memory.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use durabletask::testing::TestHub;
use durabletask::{
    Activity, Failure, Orchestration, OrchestrationContext, Registry, TaskError, when_all,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

type Variables = BTreeMap<String, Value>;

#[derive(Serialize, Deserialize)]
struct Workflow {
    variables: Variables,
    root: Statement,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Statement {
    Activity(Invocation),
    Sequence(Vec<Statement>),
    Parallel(Vec<Statement>),
}

#[derive(Serialize, Deserialize)]
struct Invocation {
    name: String,
    #[serde(default)]
    arguments: Vec<String>,
    result: Option<String>,
}

const DSL: Orchestration<Workflow, Variables> = Orchestration::new("dsl");

/// Executes a statement; boxed, because statements contain statements.
fn execute(
    ctx: OrchestrationContext,
    variables: Arc<Mutex<Variables>>,
    statement: Statement,
) -> Pin<Box<dyn Future<Output = Result<(), TaskError>> + Send>> {
    Box::pin(async move {
        match statement {
            Statement::Activity(call) => {
                let arguments: Vec<Value> = {
                    let known = variables.lock().unwrap_or_else(PoisonError::into_inner);
                    let value = |name| known.get(name).cloned().unwrap_or_default();
                    call.arguments.iter().map(value).collect()
                };
                let activity: Activity<Vec<Value>, Value> = Activity::named(&call.name);
                let result = ctx.call_activity(&activity, &arguments).await?;
                if let Some(name) = call.result {
                    let mut known = variables.lock().unwrap_or_else(PoisonError::into_inner);
                    known.insert(name, result);
                }
            }
            Statement::Sequence(statements) => {
                for statement in statements {
                    execute(ctx.clone(), Arc::clone(&variables), statement).await?;
                }
            }
            Statement::Parallel(branches) => {
                let branches = branches
                    .into_iter()
                    .map(|branch| execute(ctx.clone(), Arc::clone(&variables), branch));
                when_all(branches).await?;
            }
        }
        Ok(())
    })
}

async fn dsl(ctx: OrchestrationContext, workflow: Workflow) -> Result<Variables, Failure> {
    let variables = Arc::new(Mutex::new(workflow.variables));
    execute(ctx, Arc::clone(&variables), workflow.root).await?;
    let known = variables.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(known.clone())
}

/// One activity, two branches that go on from its result, and one that brings them together.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let call = |name: &str, arguments: &[&str], result: &str| json!({"activity": {"name": name, "arguments": arguments, "result": result}});
    let workflow: Workflow = serde_json::from_value(json!({
        "variables": {"arg1": "value1", "arg2": "value2", "arg3": "value3"},
        "root": {"sequence": [
            call("activity1", &["arg1"], "result1"),
            {"parallel": [
                {"sequence": [
                    call("activity2", &["result1"], "result2"),
                    call("activity3", &["arg2", "result2"], "result3"),
                ]},
                {"sequence": [
                    call("activity4", &["result1"], "result4"),
                    call("activity5", &["arg3", "result4"], "result5"),
                ]},
            ]},
            call("activity3", &["result3", "result5"], "result6"),
        ]},
    }))?;
    let run = TestHub::new(Registry::new().orchestration(&DSL, dsl)).run(
        &DSL,
        &workflow,
        |activity, arguments| {
            let arguments: Vec<&str> = arguments
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            Ok(json!(format!("{activity}({})", arguments.join(", "))))
        },
    );
    let variables = run.output()?;
    let expected = "activity3(activity3(value2, activity2(activity1(value1))), \
                    activity5(value3, activity4(activity1(value1))))";
    println!("{}", variables["result6"]);
    assert_eq!(variables["result6"], expected);
    Ok(())
}
