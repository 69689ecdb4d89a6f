//! Where a banner is shown: the one small interface to a tenant, and how it can fail.
//!
//! A target reads and writes the slot, each once. What to write, whether a failed write is tried again and
//! when, is decided by its caller. One file per kind of target: `qlik`, and `dry_run` for a preview.

mod dry_run;
mod qlik;
mod qlik_auth;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::banner::Banner;
use crate::domain::plan::Shown;

pub use dry_run::DryRun;
pub use qlik::{Qlik, REQUEST_TIMEOUT};
pub use qlik_auth::QlikCredentials;

/// Where the log lines of all targets belong: what people look for since the first version.
const LOG: &str = "QlikClient";

/// A tenant with one slot for a banner.
#[async_trait]
pub trait Target: Send + Sync {
    /// The banner in the slot; `None` when there is none.
    ///
    /// # Errors
    /// See [`TargetError`]; an answer that cannot be understood is an error, never an empty slot.
    async fn read(&self) -> Result<Option<Shown>, TargetError>;

    /// Puts the banner into the slot, whatever is there. Returns what the tenant made of it; `None` when it
    /// took the banner but its answer could not be understood, so that the caller must read it back.
    ///
    /// # Errors
    /// See [`TargetError`]. After [`TargetError::Trouble`] the banner may have been stored all the same.
    async fn write(&self, banner: &Banner) -> Result<Option<Shown>, TargetError>;

    /// The present moment by the tenant's clock, counted on from its last answer; `None` if none told the time.
    fn time(&self) -> Option<Timestamp> {
        None
    }

    /// The user that our writes carry as `updatedBy`; `None` where people may write as the same user, or where the
    /// tenant does not tell.
    async fn own_user(&self) -> Option<String> {
        None
    }
}

/// Why a tenant was not read or written. Texts are plain, short and free of secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The same request will be refused again: most often 400.
    #[error("the tenant refused the request: {detail}")]
    Refused {
        /// In the tenant's words.
        detail: String,
    },
    /// 401, or the token endpoint refused our credentials.
    #[error(
        "the tenant rejected our credentials (check that the key or client is valid and not expired): {detail}"
    )]
    Unauthorised {
        /// In the tenant's words.
        detail: String,
    },
    /// 403.
    #[error(
        "not allowed to set the banner (a user needs the role TenantAdmin, an OAuth client the scope admin_classic and consent Trusted): {detail}"
    )]
    Forbidden {
        /// In the tenant's words.
        detail: String,
    },
    /// 404 on a write: most often another host than the tenant's.
    #[error("the banner API was not found (check QLIK_TENANT_URL): {detail}")]
    NotFound {
        /// In the tenant's words.
        detail: String,
    },
    /// 429.
    #[error("rate limited by the tenant: {detail}")]
    RateLimited {
        /// How long it asks us to wait.
        wait: Option<Duration>,
        /// In the tenant's words.
        detail: String,
    },
    /// Likely to pass: 5xx, network, timeout, an answer that cannot be understood.
    #[error("trouble with the tenant: {detail}")]
    Trouble {
        /// How long it asks us to wait.
        wait: Option<Duration>,
        /// What happened.
        detail: String,
    },
}

impl TargetError {
    /// How long the tenant asks us to wait before the next request.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            TargetError::RateLimited { wait, .. } | TargetError::Trouble { wait, .. } => *wait,
            _ => None,
        }
    }

    /// Whether a person probably has to do something before the same request can succeed.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, TargetError::RateLimited { .. } | TargetError::Trouble { .. })
    }

    /// One word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            TargetError::Refused { .. } => "refused",
            TargetError::Unauthorised { .. } => "unauthorised",
            TargetError::Forbidden { .. } => "forbidden",
            TargetError::NotFound { .. } => "not_found",
            TargetError::RateLimited { .. } => "rate_limited",
            TargetError::Trouble { .. } => "trouble",
        }
    }
}
