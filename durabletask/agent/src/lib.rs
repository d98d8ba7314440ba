#![doc = include_str!("../README.md")]

mod agent;
mod budget;
mod claim;
mod definition;
mod exchange;
mod message;
mod model;
mod openai;
mod run;
mod session;
mod sink;
mod tool;
mod words;

pub use agent::{Agent, AgentBuilder, AgentError};
pub use budget::{Budget, Price, Stop};
pub use exchange::{AgentAnswer, AgentRequest, AgentStatus, WaitingCall};
pub use message::{Message, ToolCall, Usage};
pub use model::{ChatModel, ChatReply, ChatRequest, Finish, ToolSpec};
pub use openai::{EndpointError, OpenAiCompatible};
pub use sink::WordSink;
pub use tool::{Decision, Tool};
pub use words::Words;

// The derive of tools' arguments is this crate's.
#[doc(no_inline)]
pub use schemars;
