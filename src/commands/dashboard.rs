//! `countersign dashboard`: a link that opens the task hub's dashboard once.

use std::time::SystemTime;

use reqwest::Method;
use serde_json::json;

use super::client::{Api, encode, path_of};
use super::folder::data_dir;
use super::output::{self, text};
use super::{Exit, Fault, Outcome};
use crate::cli::DashboardArgs;
use crate::config::ClientEnvironment;
use crate::data_dir::DataDir;
use crate::local_hub::{Dashboard, HUB_TOKEN};

pub(super) async fn run(args: DashboardArgs) -> Outcome {
    let url = match on_folder(&args)? {
        Some(url) => url,
        None => from_server(&args).await?,
    };
    if args.server.json {
        return output::document(&json!({ "url": url }));
    }
    output::line(&url);
    Ok(())
}

/// A link from a front door, which records the caller.
async fn from_server(args: &DashboardArgs) -> Result<String, Fault> {
    let api = Api::find(&args.server)?;
    let mut path = "/api/dashboard/tickets".to_owned();
    if let Some(id) = &args.instance {
        // The dashboard would open, and show that there is nothing.
        api.get(&path_of(id)).await.map_err(|fault| match fault.exit {
            Exit::NotFound => Fault::new(
                Exit::NotFound,
                format!(
                    "there is no enrollment, import or request with the id {:?}: see `countersign \
                     list --enrollments` and `countersign list --requests`",
                    output::clean(id)
                ),
            ),
            _ => fault,
        })?;
        path.push_str(&format!("?instance={}", encode(id)));
    }
    let ticket = api.send(api.request(Method::POST, &path)?).await?;
    Ok(text(&ticket, "url"))
}

/// A link made with the folder's token, where a scheduler runs on the folder without a front door.
fn on_folder(args: &DashboardArgs) -> Result<Option<String>, Fault> {
    let environment = ClientEnvironment::read();
    let data = DataDir::at(&data_dir(args.server.at.data_dir.as_deref(), &environment));
    let named = args.server.at.server.is_some() || environment.server.is_some();
    if named || data.addresses().is_some() {
        return Ok(None);
    }
    let dashboard = Dashboard::new(&data, None, &args.task_hub);
    let link = dashboard.link(args.instance.as_deref(), SystemTime::now());
    let link = link.map_err(Fault::failed)?;
    match link {
        None if dashboard.base().is_some() => Err(Fault::new(
            Exit::Failed,
            format!("there is no {HUB_TOKEN} in {}", data.path().display()),
        )),
        link => Ok(link),
    }
}
