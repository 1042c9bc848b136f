//! `/tokens`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /tokens/revoke`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// The `jti` of the token, at most 128 bytes.
    pub jti: String,
    /// The token's `exp`, seconds since the Unix epoch: nothing need be kept after it. Without it the revocation is kept
    /// for as long as any token may live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
}
