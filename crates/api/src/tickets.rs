//! `/tickets`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer of `POST /tickets`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ticket {
    /// Give it as `?ticket=` to the gateway, once.
    pub ticket: String,
    pub expires_in_s: u64,
}
