//! The operations: one file for each noun of the API, and files for what several nouns share.

mod account_changes;
mod account_locks;
mod accounts;
mod approvals;
mod audit;
mod counted_codes;
mod dashboard;
mod decision;
mod enrollments;
mod ensure;
mod grants;
mod health;
mod hello;
mod ids;
mod imports;
mod inbox;
mod keys;
mod own_grants;
mod permit;
mod proof;
mod recovery;
mod request_views;
mod requests;
mod session;
mod system;
mod tokens;
mod transfers;
mod uploads;
mod vault_paths;
mod views;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::FrontDoor;

pub(super) use account_locks::AccountLocks;
pub(super) use counted_codes::CountedCodes;
pub(super) use health::LastAnswers;
pub(crate) use hello::LocalEnd;
pub(super) use hello::router as local;
pub(super) use inbox::Inbox;
pub(crate) use session::login_link;
pub(crate) use system::ServerInfo;

/// Adds every operation, each with its handler's description.
pub(super) fn add_to(api: OpenApiRouter<Arc<FrontDoor>>) -> OpenApiRouter<Arc<FrontDoor>> {
    api.routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(session::session, session::log_in, session::log_out))
        .routes(routes!(session::current))
        .routes(routes!(session::make_link))
        .routes(routes!(enrollments::list, enrollments::start))
        .routes(routes!(enrollments::status, enrollments::terminate))
        .routes(routes!(enrollments::terminate_by_post))
        .routes(routes!(approvals::decide))
        .routes(routes!(inbox::waiting))
        .routes(routes!(transfers::receive))
        .routes(routes!(imports::start))
        .routes(routes!(imports::status, imports::terminate))
        .routes(routes!(imports::terminate_by_post))
        .routes(routes!(accounts::list, accounts::create, ensure::ensure))
        .routes(routes!(
            accounts::get,
            account_changes::change,
            account_changes::delete
        ))
        .routes(routes!(account_changes::restore))
        .routes(routes!(proof::codes, proof::prove))
        .routes(routes!(account_changes::verify))
        .routes(routes!(tokens::token))
        .routes(routes!(tokens::token_by_query))
        .routes(routes!(recovery::count, recovery::set))
        .routes(routes!(recovery::take))
        .routes(routes!(recovery::take_granted))
        .routes(routes!(requests::start))
        .routes(routes!(requests::list))
        .routes(routes!(requests::status, requests::cancel))
        .routes(routes!(requests::decide))
        .routes(routes!(requests::code))
        .routes(routes!(requests::export))
        .routes(routes!(vault_paths::look_up_self))
        .routes(routes!(vault_paths::health))
        .routes(routes!(vault_paths::seal_status))
        .routes(routes!(vault_paths::init))
        .routes(routes!(vault_paths::leader))
        .routes(routes!(vault_paths::read, vault_paths::check))
        .routes(routes!(audit::list))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::show, keys::revoke))
        .routes(routes!(keys::rotate))
        .routes(routes!(
            grants::list,
            grants::add,
            grants::put,
            grants::remove
        ))
        .routes(routes!(own_grants::mine))
        .routes(routes!(system::system))
        .routes(routes!(dashboard::open))
}
