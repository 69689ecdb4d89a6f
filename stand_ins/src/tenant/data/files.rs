//! The files of the spaces.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Content, DataModel, bad, error, time};
use crate::{Reply, Request};

/// The documented default and maximum of `limit`.
const LIMIT: usize = 20;
const MAX_LIMIT: usize = 1000;

pub(super) struct DataFile {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) space: String,
    pub(super) content: Content,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    /// How many times it was written.
    pub(super) writes: usize,
}

impl DataModel {
    pub(super) fn list_files(&self, request: &Request) -> Reply {
        let Some(space) = request.param("connectionId").and_then(|id| self.space_of(id)) else {
            return error(404, "DF-007", "The data connection was not found.");
        };
        if !self.rules.member {
            return error(403, "DF-013", "Access to the space is forbidden.");
        }
        let limit = request.param("limit").and_then(|text| text.parse().ok()).unwrap_or(LIMIT).min(MAX_LIMIT);
        let skip: usize = request.param("page").and_then(|text| text.parse().ok()).unwrap_or(0);
        let named = |file: &&DataFile| request.param("name").is_none_or(|name| file.name == name);
        let all: Vec<&DataFile> =
            self.files.iter().filter(|file| file.space == space).filter(named).collect();
        let page: Vec<Value> = all.iter().skip(skip).take(limit).map(|file| file.object()).collect();
        let next = (skip + limit < all.len())
            .then(|| json!({"href": format!("/api/v1/data-files?page={}", skip + limit)}));
        Reply::json(&json!({"data": page, "links": {"next": next, "prev": null, "self": null}}))
    }

    /// POST of a new file, or PUT in the place of an existing one.
    pub(super) fn commit(&mut self, request: &Request, id: Option<&str>, now: Timestamp) -> Reply {
        let Some((form, part)) = parts(request) else { return bad("The body has no part Json.") };
        let Some(name) = form["name"].as_str().filter(|name| !name.is_empty() && !name.contains("..")) else {
            return error(400, "DF-015", "The file name is not canonical.");
        };
        let Some(space) = form["connectionId"].as_str().and_then(|id| self.space_of(id)) else {
            return error(404, "DF-007", "The data connection was not found.");
        };
        if !self.rules.member {
            return error(403, "DF-013", "Access to the space is forbidden.");
        }
        let ending = name.rsplit('.').next().unwrap_or_default();
        if !self.rules.extensions.iter().any(|known| known == ending) {
            return error(400, "DF-010", "The file extension is not allowed.");
        }
        if self.rules.locks && self.is_read() {
            return error(423, "DF-021", "The file is locked.");
        }
        let existing = self.files.iter().position(|file| file.space == space && file.name == name);
        let index = match id {
            None if existing.is_some() => return error(409, "HTTP-409", "The file exists already."),
            None => None,
            Some(id) => match self.files.iter().position(|file| file.id == id) {
                Some(index) => Some(index),
                None => return error(404, "HTTP-404", "The file was not found."),
            },
        };
        let content = match (form["tempContentFileId"].as_str(), part) {
            (Some(upload), _) => match self.take_upload(upload, now) {
                Some(content) => content,
                None => return error(400, "DF-012", "The temporary content was not found."),
            },
            (None, Some(content)) if content.len() as u64 <= self.rules.direct => content.into(),
            (None, Some(_)) => return error(413, "HTTP-413", "The file is too large."),
            (None, None) => return bad("The body has no part File."),
        };
        let index = match index {
            Some(index) => {
                let file = &mut self.files[index];
                (file.content, file.updated_at, file.writes) = (content, now, file.writes + 1);
                index
            }
            None => {
                let (id, name) = (self.new_id("file"), name.to_owned());
                let (created_at, updated_at) = (now, now);
                self.files.push(DataFile { id, name, space, content, created_at, updated_at, writes: 1 });
                self.files.len() - 1
            }
        };
        Reply::json(&self.files[index].object()).with_status(201)
    }
}

impl DataFile {
    fn object(&self) -> Value {
        json!({"id": self.id, "name": self.name, "baseName": self.name, "size": self.content.len(),
            "spaceId": self.space, "ownerId": "605a18af5ab08cc3e0cf0001", "actions": ["read", "update"],
            "createdDate": time(self.created_at), "modifiedDate": time(self.updated_at),
            "contentUpdatedDate": time(self.updated_at), "folder": false, "qri": format!("qdf:{}", self.id)})
    }
}

/// The parts `Json` and `File` of a multipart body.
fn parts(request: &Request) -> Option<(Value, Option<Vec<u8>>)> {
    let kind = request.header("content-type")?;
    let boundary = kind.strip_prefix("multipart/form-data; boundary=")?.trim_matches('"');
    let mark = format!("--{boundary}").into_bytes();
    let (mut form, mut file) = (None, None);
    for part in split(&request.body, &mark) {
        let Some(at) = find(part, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&part[..at]).to_lowercase();
        let body = part[at + 4..].strip_suffix(b"\r\n").unwrap_or(&part[at + 4..]);
        if head.contains("name=\"json\"") {
            form = serde_json::from_slice(body).ok();
        } else if head.contains("name=\"file\"") {
            file = Some(body.to_vec());
        }
    }
    Some((form?, file))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn split<'a>(text: &'a [u8], mark: &[u8]) -> Vec<&'a [u8]> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(at) = find(rest, mark) {
        found.push(&rest[..at]);
        rest = &rest[at + mark.len()..];
    }
    found.push(rest);
    found
}
