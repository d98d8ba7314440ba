//! Tools for agents, by the Model Context Protocol.
//!
//! A tool is just a call or two of the HTTP API as the same caller: what
//! may be read, how often, with whose approval and what is recorded is decided in
//! one place, whichever way a caller comes in. At `/mcp` the calls stay inside the
//! process, for `countersign mcp` they go to a server.

mod backend;
mod shapes;
mod tools;

pub(crate) use backend::{Backend, Call, Reply, ToolError};
pub(crate) use tools::Tools;
