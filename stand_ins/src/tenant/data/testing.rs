//! What tests check of the tenant's data.

use std::collections::BTreeMap;

use super::super::Tenant;
use super::{DataModel, ReloadRecord};

impl DataModel {
    /// The content of each file, by name.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.files.iter().map(|file| (file.name.clone(), file.content.to_vec())).collect()
    }

    /// How many times each file was written.
    pub fn writes(&self) -> BTreeMap<String, usize> {
        self.files.iter().map(|file| (file.name.clone(), file.writes)).collect()
    }
}

impl Tenant {
    /// All reloads of all apps, oldest first, as they are at this moment.
    pub fn reloads(&self) -> Vec<ReloadRecord> {
        self.change(|state| {
            let now = state.now();
            state.data.settle(now);
            state.data.reloads().to_vec()
        })
    }
}
