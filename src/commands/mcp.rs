//! `countersign mcp`: the tools for agents on standard input and output, as a client of a
//! server.

use std::sync::Arc;

use async_trait::async_trait;
use rmcp::ServiceExt as _;
use rmcp::model::Extensions;
use rmcp::service::ServerInitializeError;
use tokio_util::sync::CancellationToken;

use super::client::{Api, with_reason};
use super::{Fault, Outcome, output};
use crate::cli::McpArgs;
use crate::mcp::{Backend, Call, Reply, ToolError, Tools};

pub(super) async fn run(args: McpArgs) -> Outcome {
    let api = Api::find_at(&args.server)?;
    // Now, where a person reads what is wrong, and not with the first tool.
    let session = api.get("/api/session").await?;
    output::note(&format!(
        "Tools for agents, as {}",
        output::text(&session, "caller")
    ));
    let api: Arc<dyn Backend> = Arc::new(api);
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let service = match Tools::new(api, stop).serve(rmcp::transport::stdio()).await {
        Ok(service) => service,
        // The parent process has closed standard input without asking for anything.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(Fault::failed(error)),
    };
    // Until the parent process closes standard input.
    service.waiting().await.map_err(Fault::failed)?;
    Ok(())
}

#[async_trait]
impl Backend for Api {
    async fn call(&self, _: &Extensions, call: Call) -> Result<Reply, ToolError> {
        let said = |failure: Fault| ToolError(failure.message.unwrap_or_default());
        let mut request = self.request(call.method, &call.path).map_err(said)?;
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let request = with_reason(request, call.reason.as_deref());
        match self.try_send(request).await.map_err(said)? {
            Ok(body) => Ok(Reply {
                status: reqwest::StatusCode::OK,
                body,
            }),
            Err(refusal) => Ok(Reply {
                status: refusal.status,
                body: refusal.problem,
            }),
        }
    }
}
