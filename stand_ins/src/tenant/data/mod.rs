//! The tenant's data files, temporary contents and app reloads, as their documentation describes them.
//!
//! It records what an app would have read at the start and the end of each reload. What the documentation leaves open is a
//! field of [`DataRules`].

mod files;
mod reloads;
#[cfg(feature = "testing")]
mod testing;
mod uploads;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub use reloads::{ReloadRead, ReloadRecord};

use self::files::DataFile;
use self::uploads::TempContent;
use super::refusal;
use crate::draw::hex32;
use crate::{Reply, Request};

/// What `GET /api/v1/data-files/quotas` answers to.
pub const QUOTAS: &str = "GET /api/v1/data-files/quotas";
/// Where a reload is asked for.
pub const ASK_RELOAD: &str = "POST /api/v1/reloads";
/// Where files are committed.
pub const COMMIT: &str = "/api/v1/data-files";

/// Behaviour that a test can choose.
#[derive(Debug, Clone)]
pub struct DataRules {
    /// Endings that may be uploaded.
    pub extensions: Vec<String>,
    /// The endings come as one text and not as a list, as in the documentation's example.
    pub extensions_as_text: bool,
    /// Bytes of one request, and of a file.
    pub direct: u64,
    pub largest: u64,
    /// Whether the caller is a member of the spaces.
    pub member: bool,
    /// How long a reload is queued, and how long it runs.
    pub queued_for: SignedDuration,
    pub runs_for: SignedDuration,
    /// The tenant's quota for the frequency of reloads is used up.
    pub too_frequent: bool,
    /// The script error of reloads by app.
    pub script_errors: BTreeMap<String, String>,
    /// A file that a reload reads cannot be written.
    pub locks: bool,
}

/// The state of the tenant's data.
pub struct DataModel {
    /// See [`DataRules`].
    pub rules: DataRules,
    /// Id and name.
    spaces: Vec<(String, String)>,
    apps: Vec<String>,
    files: Vec<DataFile>,
    uploads: BTreeMap<String, TempContent>,
    reloads: Vec<ReloadRecord>,
    made: u64,
}

/// A file's content.
pub type Content = Arc<[u8]>;

impl Default for DataModel {
    fn default() -> DataModel {
        let rules = DataRules {
            extensions: ["csv", "xlsx", "txt", "qvd", "parquet"].map(str::to_owned).into(),
            extensions_as_text: false,
            direct: 524_288_000,
            largest: 6_442_450_944,
            member: true,
            queued_for: SignedDuration::from_millis(20),
            runs_for: SignedDuration::from_millis(40),
            too_frequent: false,
            script_errors: BTreeMap::new(),
            locks: true,
        };
        let (spaces, apps, files, reloads) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        DataModel { rules, spaces, apps, files, uploads: BTreeMap::new(), reloads, made: 0 }
    }
}

impl DataModel {
    /// A space with its data connection. Returns its id.
    pub fn add_space(&mut self, name: &str) -> String {
        let id = self.new_id("space")[..24].to_owned();
        self.spaces.push((id.clone(), name.to_owned()));
        id
    }

    /// The space and everything in it is deleted.
    pub fn remove_space(&mut self, id: &str) {
        self.spaces.retain(|(space, _)| space != id);
        self.files.retain(|file| file.space != id);
    }

    /// An app that may be reloaded.
    pub fn add_app(&mut self, id: &str) {
        self.apps.push(id.to_owned());
    }

    /// The app is deleted.
    pub fn remove_app(&mut self, id: &str) {
        self.apps.retain(|app| app != id);
    }

    /// All temporary contents expire.
    pub fn expire_uploads(&mut self) {
        self.uploads.values_mut().for_each(|content| content.ends = Timestamp::MIN);
    }

    /// A reload that someone else asks for.
    pub fn queue_reload(&mut self, app: &str, now: Timestamp) {
        self.settle(now);
        self.queue(app, now);
    }

    /// Answers a request below the paths of data; `None` for others.
    pub(super) fn answer(&mut self, request: &Request, now: Timestamp) -> Option<Reply> {
        self.settle(now);
        let path: Vec<&str> = request.path.strip_prefix("/api/v1/")?.split('/').collect();
        let reply = match (request.method.as_str(), path.as_slice()) {
            ("GET", ["spaces"]) => self.find_spaces(request),
            ("GET", ["data-files", "quotas"]) => self.quotas(),
            ("GET", ["data-files", "connections"]) => self.connections(request),
            ("GET", ["data-files"]) => self.list_files(request),
            ("POST", ["data-files"]) => self.commit(request, None, now),
            ("PUT", ["data-files", id]) => self.commit(request, Some(id), now),
            ("POST", ["temp-contents"]) => self.store(request, now),
            ("POST", ["temp-contents", "files"]) => self.create(request, now),
            ("PATCH", ["temp-contents", "files", id]) => self.append(request, id, now),
            ("HEAD", ["temp-contents", "files", id]) => self.arrived(request, id, now),
            ("GET", ["reloads"]) => self.list_reloads(request),
            ("POST", ["reloads"]) => self.ask_reload(request, now),
            ("GET", ["reloads", id]) => self.show_reload(id),
            _ => return None,
        };
        Some(reply)
    }

    fn find_spaces(&self, request: &Request) -> Reply {
        let name = request.param("name").unwrap_or_default().to_lowercase();
        let fits = |space: &&(String, String)| space.1.to_lowercase().contains(&name);
        let spaces: Vec<Value> = self
            .spaces
            .iter()
            .filter(fits)
            .filter(|_| self.rules.member)
            .map(|(id, name)| json!({"id": id, "name": name, "type": "shared"}))
            .collect();
        Reply::json(&json!({"data": spaces, "meta": {"count": spaces.len()}, "links": {}}))
    }

    fn quotas(&self) -> Reply {
        let rules = &self.rules;
        let extensions = match rules.extensions_as_text {
            true => json!(rules.extensions.join(", ")),
            false => json!(rules.extensions),
        };
        Reply::json(&json!({"allowedExtensions": extensions, "allowedInternalExtensions": [],
            "maxFileSize": rules.direct, "maxLargeFileSize": rules.largest,
            "maxSize": 0, "size": 0}))
    }

    fn connections(&self, request: &Request) -> Reply {
        let Some(space) = request.param("spaceId") else {
            return Reply::json(&json!({"data": [], "links": {}}));
        };
        if !self.spaces.iter().any(|(id, _)| id == space) {
            return error(404, "DF-009", "The space was not found.");
        }
        if !self.rules.member {
            return error(403, "DF-013", "Access to the space is forbidden.");
        }
        let connection = json!({"id": connection_of(space), "name": "DataFiles", "type": "qix-datafiles.exe",
            "connectStatement": "CUSTOM CONNECT TO", "spaceId": space});
        Reply::json(&json!({"data": [connection], "links": {}}))
    }

    fn space_of(&self, connection: &str) -> Option<String> {
        let space = self.spaces.iter().find(|(id, _)| connection_of(id) == connection);
        space.map(|(id, _)| id.clone())
    }

    fn new_id(&mut self, kind: &str) -> String {
        self.made += 1;
        hex32(0, kind, self.made)
    }
}

fn connection_of(space: &str) -> String {
    format!("connection-{space}")
}

/// A time as the documentation's examples write it: with seven digits.
fn time(moment: Timestamp) -> String {
    format!("{moment:.7}")
}

fn error(status: u16, code: &str, title: &str) -> Reply {
    Reply::json(&json!({"errors": [{"code": code, "title": title}], "traceId": hex32(0, code, 0)}))
        .with_status(status)
}

fn bad(detail: &str) -> Reply {
    refusal(400, "Bad Request", detail)
}
