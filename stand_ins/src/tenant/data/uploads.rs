//! Temporary contents: whole ones, and uploads in parts by tus 1.0.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};

use super::{Content, DataModel, bad, error};
use crate::{Reply, Request};

/// The documented default and maximum of `ttl`, in seconds.
const TTL: i64 = 3600;
const MAX_TTL: i64 = 259_200;

pub(super) struct TempContent {
    content: Vec<u8>,
    /// The announced length.
    length: u64,
    pub(super) ends: Timestamp,
}

impl DataModel {
    /// A whole content in one request. The path in `Location` has no `/api`, as seen on a real tenant.
    pub(super) fn store(&mut self, request: &Request, now: Timestamp) -> Reply {
        if request.body.len() as u64 > self.rules.direct {
            return error(413, "HTTP-413", "The content is too large.");
        }
        let ttl = request.param("ttl").map(str::to_owned);
        let Some(ends) = end(ttl.as_deref(), now) else { return bad("ttl is wrong.") };
        let id = self.new_id("temp");
        let (content, length) = (request.body.clone(), request.body.len() as u64);
        self.uploads.insert(id.clone(), TempContent { content, length, ends });
        Reply::status(201).header("location", &format!("/v1/temp-contents/{id}"))
    }

    pub(super) fn create(&mut self, request: &Request, now: Timestamp) -> Reply {
        if request.header("tus-resumable") != Some("1.0.0") {
            return Reply::status(412).header("tus-version", "1.0.0");
        }
        let length = request.header("upload-length").and_then(|text| text.parse::<u64>().ok());
        let Some(length) = length else { return bad("Upload-Length is missing.") };
        if length > self.rules.largest {
            return error(413, "HTTP-413", "The content is too large.");
        }
        let metadata = request.header("upload-metadata").unwrap_or_default();
        let value = |name: &str| {
            let pair = metadata.split(',').find_map(|pair| pair.trim().strip_prefix(name))?;
            String::from_utf8(BASE64_STANDARD.decode(pair.trim()).ok()?).ok()
        };
        if value("filename").is_none() {
            return bad("Upload-Metadata has no filename.");
        }
        let Some(ends) = end(value("ttl").as_deref(), now) else { return bad("ttl is wrong.") };
        let id = self.new_id("temp");
        self.uploads.insert(id.clone(), TempContent { content: Vec::new(), length, ends });
        Reply::status(201)
            .header("location", &format!("/v1/temp-contents/files/{id}"))
            .header("tus-resumable", "1.0.0")
    }

    pub(super) fn append(&mut self, request: &Request, id: &str, now: Timestamp) -> Reply {
        let direct = self.rules.direct;
        let Some(upload) = self.uploads.get_mut(id).filter(|upload| now < upload.ends) else {
            return Reply::status(410);
        };
        if request.header("tus-resumable") != Some("1.0.0") {
            return Reply::status(412).header("tus-version", "1.0.0");
        }
        if request.header("content-type") != Some("application/offset+octet-stream") {
            return Reply::status(415);
        }
        let at = request.header("upload-offset").and_then(|text| text.parse::<usize>().ok());
        if at != Some(upload.content.len()) {
            return Reply::status(409);
        }
        let after = (upload.content.len() + request.body.len()) as u64;
        if after > upload.length || request.body.len() as u64 > direct {
            return error(413, "HTTP-413", "The content is too large.");
        }
        upload.content.extend_from_slice(&request.body);
        Reply::status(204).header("upload-offset", &after.to_string()).header("tus-resumable", "1.0.0")
    }

    pub(super) fn arrived(&self, request: &Request, id: &str, now: Timestamp) -> Reply {
        if request.header("tus-resumable") != Some("1.0.0") {
            return Reply::status(412).header("tus-version", "1.0.0");
        }
        match self.uploads.get(id).filter(|upload| now < upload.ends) {
            Some(upload) => Reply::status(200)
                .header("upload-offset", &upload.content.len().to_string())
                .header("upload-length", &upload.length.to_string())
                .header("tus-resumable", "1.0.0"),
            None => Reply::status(410),
        }
    }

    /// The whole content of an upload, which is used up.
    pub(super) fn take_upload(&mut self, id: &str, now: Timestamp) -> Option<Content> {
        let whole = |upload: &&TempContent| now < upload.ends && upload.content.len() as u64 == upload.length;
        self.uploads.get(id).filter(whole)?;
        Some(self.uploads.remove(id)?.content.into())
    }
}

fn end(ttl: Option<&str>, now: Timestamp) -> Option<Timestamp> {
    let ttl = match ttl {
        Some(text) => text.parse().ok().filter(|ttl| (1..=MAX_TTL).contains(ttl))?,
        None => TTL,
    };
    now.checked_add(SignedDuration::from_secs(ttl)).ok()
}
