//! Tools for agents, by the Model Context Protocol.
//!
//! A tool is nothing but a call or two of the HTTP API as the caller who is there: what
//! may be read, how often, with whose approval and what is recorded of it is decided in
//! one place, whichever door someone comes through. At `/mcp` the calls stay inside the
//! process, for `countersign mcp` they go to a server.

mod backend;
mod shapes;
mod tools;

pub(crate) use backend::{Backend, Call, Fault, Reply};
pub(crate) use tools::Tools;
