//! Reloads of apps, on the tenant's clock.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Content, DataModel, bad, error, time};
use crate::{Reply, Request};

/// Reloads that are kept, so that a demo that runs for days stays small.
const KEPT: usize = 200;

/// The files of all spaces, by name.
pub type ReloadRead = BTreeMap<String, Content>;

/// One reload.
#[derive(Debug, Clone)]
pub struct ReloadRecord {
    /// Its id.
    pub id: String,
    /// The app that it reloads.
    pub app: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it started, and when it ended.
    pub started_at: Option<Timestamp>,
    /// Its end.
    pub ended_at: Option<Timestamp>,
    /// What the app would have read at the start and at the end.
    pub read: Vec<ReloadRead>,
    error: Option<String>,
}

impl DataModel {
    /// Moves every reload to where it is by now. Files change only by requests, so it is called before each.
    pub(super) fn settle(&mut self, now: Timestamp) {
        let files = || self.files.iter().map(|file| (file.name.clone(), file.content.clone())).collect();
        for reload in &mut self.reloads {
            let start = reload.created_at + self.rules.queued_for;
            if reload.started_at.is_none() && start <= now {
                reload.started_at = Some(start);
                reload.read.push(files());
            }
            let end = start + self.rules.runs_for;
            if reload.ended_at.is_none() && reload.started_at.is_some() && end <= now {
                reload.ended_at = Some(end);
                reload.error = self.rules.script_errors.get(&reload.app).cloned();
                reload.read.push(files());
            }
        }
    }

    /// Whether a reload reads files now.
    pub(super) fn is_read(&self) -> bool {
        self.reloads.iter().any(|reload| reload.started_at.is_some() && reload.ended_at.is_none())
    }

    pub(super) fn queue(&mut self, app: &str, now: Timestamp) -> usize {
        let (id, app, read) = (self.new_id("reload"), app.to_owned(), Vec::new());
        let (started_at, ended_at, error) = (None, None, None);
        self.reloads.push(ReloadRecord { id, app, created_at: now, started_at, ended_at, read, error });
        if !cfg!(feature = "testing") && self.reloads.len() > KEPT && self.reloads[0].ended_at.is_some() {
            self.reloads.remove(0);
        }
        self.reloads.len() - 1
    }

    pub(super) fn ask_reload(&mut self, request: &Request, now: Timestamp) -> Reply {
        let Some(body) = request.json() else { return bad("The body is not JSON.") };
        let Some(app) = body["appId"].as_str().map(str::to_owned) else { return bad("appId is missing.") };
        if !self.apps.contains(&app) {
            return error(404, "RELOADS-004", "The app was not found.");
        }
        if self.rules.too_frequent {
            return error(403, "RELOADS-013", "The reload frequency quota is exceeded.");
        }
        if self.reloads.iter().any(|reload| reload.app == app && reload.ended_at.is_none()) {
            return error(429, "RELOADS-007", "A reload of this app is already pending.");
        }
        let index = self.queue(&app, now);
        Reply::json(&self.reloads[index].object()).with_status(201)
    }

    pub(super) fn list_reloads(&self, request: &Request) -> Reply {
        let Some(app) = request.param("appId") else { return bad("appId is missing.") };
        let limit = request.param("limit").and_then(|text| text.parse().ok()).unwrap_or(10);
        let of_app = self.reloads.iter().rev().filter(|reload| reload.app == app);
        let page: Vec<Value> = of_app.take(limit).map(ReloadRecord::object).collect();
        Reply::json(&json!({"data": page, "links": {}}))
    }

    pub(super) fn show_reload(&self, id: &str) -> Reply {
        match self.reloads.iter().find(|reload| reload.id == id) {
            Some(reload) => Reply::json(&reload.object()),
            None => error(404, "RELOADS-004", "The reload was not found."),
        }
    }

    /// All reloads, oldest first.
    pub fn reloads(&self) -> &[ReloadRecord] {
        &self.reloads
    }
}

impl ReloadRecord {
    fn object(&self) -> Value {
        let status = match (self.started_at, self.ended_at, &self.error) {
            (None, _, _) => "QUEUED",
            (Some(_), None, _) => "RELOADING",
            (_, Some(_), None) => "SUCCEEDED",
            (_, Some(_), Some(_)) => "FAILED",
        };
        let mut object = json!({"id": self.id, "appId": self.app, "tenantId": "tenant", "userId": "user",
            "type": "external", "status": status, "creationTime": time(self.created_at), "links": {}});
        let times =
            [("startTime", self.started_at), ("endTime", self.ended_at), ("engineTime", self.ended_at)];
        for (name, moment) in times {
            if let Some(moment) = moment {
                object[name] = json!(time(moment));
            }
        }
        if let Some(error) = &self.error {
            (object["errorCode"], object["errorMessage"]) = (json!("EngineScriptError"), json!(error));
        }
        object
    }
}
