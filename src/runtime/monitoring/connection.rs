//! A tenant as the runtime needs it.

use std::sync::Arc;

use crate::domain::monitoring::audience::tenant::TenantRules;
use crate::publish::Target;
use crate::upload::DataClient;

/// A tenant and the way to it.
#[derive(Clone)]
pub struct ConnectedTenant {
    pub rules: TenantRules,
    pub target: Arc<dyn Target>,
    /// The way to its data; `None` in preview.
    pub data: Option<Arc<DataClient>>,
}

impl ConnectedTenant {
    /// What its saved state is found by.
    pub(in crate::runtime) fn key(&self) -> &str {
        self.rules.url.as_str()
    }

    /// Whether nothing about it has changed.
    pub(in crate::runtime) fn is_same(&self, other: &ConnectedTenant) -> bool {
        self.rules == other.rules && Arc::ptr_eq(&self.target, &other.target)
    }
}
