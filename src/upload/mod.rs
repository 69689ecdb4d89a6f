//! Carries out the steps of a delivery at a Qlik Cloud tenant: data files of a space, temporary contents, reloads of apps.
//!
//! One step is one request or two, and at most one part of a file is in memory. When which step comes is decided in
//! [`delivery`](crate::domain::syncing::delivery). Paths and codes are those of the data-files, temp-contents and
//! reloads pages of qlik.dev. Start at
//! [`DataClient::perform`].

mod answers;
mod exported_file;
mod failure;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::json;
use url::Url;

use crate::domain::data_rule::DataRule;
use crate::domain::syncing::delivery::{
    DeliveryStep, FailureKind, FileForUpload, StepFailure, StepResult, UPLOAD_TTL,
};
use crate::qlik::{REQUEST_TIMEOUT, TenantAnswer, TenantClient};
use failure::{Subject, of_answer, of_request};

pub use exported_file::files_of;

/// Timeout of a request that carries a part of a file: eight MiB in this time are half a megabit per second.
const PART_TIMEOUT: Duration = Duration::from_secs(120);

/// Timeout of a commit: the tenant moves the content.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Reloads of an app that are searched for one that was asked for without an answer.
const LISTED_RELOADS: &str = "10";

/// Spaces that are listed to find one by its name, because the tenant's search also finds longer names.
const LISTED_SPACES: &str = "100";

/// Separates the parts of a body. A part of one line of JSON cannot contain a separator, which has a line of its own.
const BOUNDARY: &str = "data-sources-monitor-part";

const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");

/// The data of one tenant.
#[derive(Debug)]
pub struct DataClient {
    tenant: Arc<TenantClient>,
}

type Done = Result<StepResult, StepFailure>;

impl DataClient {
    pub fn new(tenant: Arc<TenantClient>) -> DataClient {
        DataClient { tenant }
    }

    /// Carries out one step. Waits are up to the caller.
    pub async fn perform(&self, rule: &DataRule, step: &DeliveryStep) -> StepResult {
        let done = match step {
            DeliveryStep::Wait(_) => Err(StepFailure::new(FailureKind::Transient, "nothing to send")),
            DeliveryStep::Prepare => self.prepare(rule).await,
            DeliveryStep::StoreFile { name, file } => self.store(name, file).await,
            DeliveryStep::CreateUpload { name, file } => self.create(name, file).await,
            DeliveryStep::LocateUpload { name, upload } => self.locate(name, upload).await,
            DeliveryStep::SendPart { name, file, upload, offset, length } => {
                self.send_part(name, file, upload, *offset, *length).await
            }
            DeliveryStep::FindFile { name, connection } => self.find_file(rule, name, connection).await,
            DeliveryStep::CommitFile { name, connection, upload, existing } => {
                self.commit(rule, name, connection, upload, existing.as_deref()).await
            }
            DeliveryStep::FindReloads { app } => self.find_reloads(app).await,
            DeliveryStep::AskReload { app } => self.ask_reload(app).await,
            DeliveryStep::FollowReload { app, id } => self.follow_reload(app, id).await,
        };
        done.unwrap_or_else(StepResult::Failed)
    }

    async fn prepare(&self, rule: &DataRule) -> Done {
        let quotas = self.get("/api/v1/data-files/quotas", &[], &Subject::Quotas).await?;
        let space = rule.space.as_deref().unwrap_or_default();
        let id = if is_space_id(space) { space.to_owned() } else { self.space_id(space).await? };
        let subject = Subject::Space(space);
        let path = "/api/v1/data-files/connections";
        let connections = self.get(path, &[("spaceId", &id)], &subject).await?;
        let connection = answers::connection(connections.body(), &id).ok_or_else(|| {
            let detail = format!("the space {space} has no data connection; open it once in the tenant");
            StepFailure::new(FailureKind::Rejected, detail)
        })?;
        answers::limits(quotas.body(), connection).map(StepResult::Prepared).ok_or_else(|| unread(&quotas))
    }

    /// The id of the space with this name.
    async fn space_id(&self, name: &str) -> Result<String, StepFailure> {
        let answer = self
            .get("/api/v1/spaces", &[("name", name), ("limit", LISTED_SPACES)], &Subject::Space(name))
            .await?;
        let ids = answers::spaces_named(answer.body(), name);
        match ids.as_slice() {
            [id] => Ok(id.clone()),
            [] => {
                let detail = format!(
                    "the tenant shows us no space named {name}: check the name, use the id of the space, and make our user a member of it"
                );
                Err(StepFailure::new(FailureKind::Rejected, detail))
            }
            _ => {
                let detail = format!("several spaces are named {name}; use the id of one");
                Err(StepFailure::new(FailureKind::Rejected, detail))
            }
        }
    }

    async fn store(&self, name: &str, file: &FileForUpload) -> Done {
        let content = exported_file::read(file, 0, file.bytes).await?;
        let ttl = UPLOAD_TTL.as_secs().to_string();
        let build = |client: &Client, url: Url| {
            let request = client.post(url).query(&[("filename", name), ("ttl", &ttl)]);
            request.header(CONTENT_TYPE, "application/octet-stream").body(content.clone())
        };
        let subject = Subject::Upload(name);
        let answer = self.send("/api/v1/temp-contents", PART_TIMEOUT, &subject, build).await?;
        upload_id(&answer).map(|upload| StepResult::Stored { upload }).ok_or_else(|| unread(&answer))
    }

    async fn create(&self, name: &str, file: &FileForUpload) -> Done {
        let encoded = |text: &str| BASE64_STANDARD.encode(text);
        let ttl = UPLOAD_TTL.as_secs().to_string();
        let metadata = format!("filename {},ttl {}", encoded(name), encoded(&ttl));
        let build = |client: &Client, url: Url| {
            let request = client.post(url).header(TUS.0, TUS.1).header("Upload-Metadata", &metadata);
            request.header("Upload-Length", file.bytes)
        };
        let subject = Subject::Upload(name);
        let answer = self.send("/api/v1/temp-contents/files", REQUEST_TIMEOUT, &subject, build).await?;
        upload_id(&answer).map(|upload| StepResult::Created { upload }).ok_or_else(|| unread(&answer))
    }

    async fn locate(&self, name: &str, upload: &str) -> Done {
        let build = |client: &Client, url: Url| client.head(url).header(TUS.0, TUS.1);
        let subject = Subject::Upload(name);
        let answer = self.send(&upload_path(upload), REQUEST_TIMEOUT, &subject, build).await?;
        arrived(&answer)
    }

    async fn send_part(
        &self,
        name: &str,
        file: &FileForUpload,
        upload: &str,
        offset: u64,
        length: u64,
    ) -> Done {
        let content = exported_file::read(file, offset, length).await?;
        let build = |client: &Client, url: Url| {
            let request = client.patch(url).header(TUS.0, TUS.1).header("Upload-Offset", offset);
            request.header(CONTENT_TYPE, "application/offset+octet-stream").body(content.clone())
        };
        let subject = Subject::Upload(name);
        let answer = self.send(&upload_path(upload), PART_TIMEOUT, &subject, build).await?;
        arrived(&answer)
    }

    async fn find_file(&self, rule: &DataRule, name: &str, connection: &str) -> Done {
        let query = [("connectionId", connection), ("name", name)];
        let subject = Subject::Space(rule.space.as_deref().unwrap_or_default());
        let answer = self.get("/api/v1/data-files", &query, &subject).await?;
        answers::file_named(answer.body(), name).map(StepResult::FileFound).ok_or_else(|| unread(&answer))
    }

    async fn commit(
        &self,
        rule: &DataRule,
        name: &str,
        connection: &str,
        upload: &str,
        existing: Option<&str>,
    ) -> Done {
        let (method, path) = match existing {
            Some(id) => (Method::PUT, format!("/api/v1/data-files/{}", segment(id))),
            None => (Method::POST, "/api/v1/data-files".to_owned()),
        };
        let form = json!({"name": name, "connectionId": connection, "tempContentFileId": upload});
        let body = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"Json\"\r\nContent-Type: application/json\r\n\r\n{form}\r\n--{BOUNDARY}--\r\n"
        );
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let build = |client: &Client, url: Url| {
            client.request(method.clone(), url).header(CONTENT_TYPE, &kind).body(body.clone())
        };
        let space = rule.space.as_deref().unwrap_or_default();
        let subject = Subject::Commit { space, replaces: existing.is_some() };
        let answer = self.send(&path, COMMIT_TIMEOUT, &subject, build).await?;
        // The file is stored; what it is now can be looked up.
        let unclear = || StepFailure::new(FailureKind::Unclear, unread(&answer).detail);
        answers::file(answer.body()).map(StepResult::Committed).ok_or_else(unclear)
    }

    async fn find_reloads(&self, app: &str) -> Done {
        let query = [("appId", app), ("limit", LISTED_RELOADS)];
        let answer = self.get("/api/v1/reloads", &query, &Subject::Reloads(app)).await?;
        let words = self.tenant.words();
        let reloads =
            answers::reloads(answer.body(), |text| words.clean(text)).ok_or_else(|| unread(&answer))?;
        Ok(StepResult::ReloadsFound { reloads, time: answer.time() })
    }

    async fn ask_reload(&self, app: &str) -> Done {
        let build = |client: &Client, url: Url| client.post(url).json(&json!({"appId": app}));
        let subject = Subject::Reload(app);
        let answer = self.send("/api/v1/reloads", REQUEST_TIMEOUT, &subject, build).await?;
        let unclear = || StepFailure::new(FailureKind::Unclear, unread(&answer).detail);
        answer.id().map(|id| StepResult::ReloadAccepted { id }).ok_or_else(unclear)
    }

    async fn follow_reload(&self, app: &str, id: &str) -> Done {
        let path = format!("/api/v1/reloads/{}", segment(id));
        let answer = self.get(&path, &[], &Subject::Reloads(app)).await?;
        let words = self.tenant.words();
        let reload = answers::reload(answer.body(), |text| words.clean(text));
        reload.map(StepResult::ReloadIs).ok_or_else(|| unread(&answer))
    }

    async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        subject: &Subject<'_>,
    ) -> Result<TenantAnswer, StepFailure> {
        self.send(path, REQUEST_TIMEOUT, subject, |client, url| client.get(url).query(query)).await
    }

    async fn send(
        &self,
        path: &str,
        timeout: Duration,
        subject: &Subject<'_>,
        build: impl Fn(&Client, Url) -> RequestBuilder,
    ) -> Result<TenantAnswer, StepFailure> {
        let sent = self.tenant.send(path, timeout, build).await;
        let answer = sent.map_err(|error| of_request(&error, subject))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(of_answer(&answer, &self.tenant.words(), subject))
    }
}

/// The documented ids of spaces have 24 hexadecimal digits.
fn is_space_id(space: &str) -> bool {
    space.len() == 24 && space.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The last part of `Location`: the tenant writes it without `/api`, so that it cannot be followed.
fn upload_id(answer: &TenantAnswer) -> Option<String> {
    let location = answer.header(LOCATION)?;
    let id = location.split(['?', '#']).next()?.trim_end_matches('/').rsplit('/').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (!id.is_empty() && id.chars().all(plain) && id.contains(|c: char| c != '.')).then(|| id.to_owned())
}

fn upload_path(upload: &str) -> String {
    format!("/api/v1/temp-contents/files/{}", segment(upload))
}

/// An id as one segment of a path.
fn segment(id: &str) -> String {
    id.replace(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c)), "_")
}

fn arrived(answer: &TenantAnswer) -> Done {
    let offset = answer.header("upload-offset").and_then(|text| text.parse().ok());
    offset.map(|offset| StepResult::Arrived { offset }).ok_or_else(|| unread(answer))
}

fn unread(answer: &TenantAnswer) -> StepFailure {
    let why = match &answer.body {
        Err(failure) => failure.to_string(),
        Ok(_) => "a field is missing".to_owned(),
    };
    let detail = format!("HTTP {}, unexpected response: {why}", answer.status.as_u16());
    StepFailure::new(FailureKind::Transient, detail)
}
