//! The steps of a delivery and their results.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::FileForUpload;
use crate::domain::file_format::FileFormat;

/// What to do next: one request, or two that belong together.
#[derive(Debug, Clone, PartialEq)]
pub enum DeliveryStep {
    /// Nothing, until this time or a finished run.
    Wait(Option<Timestamp>),
    /// Read what may be uploaded, and the connection of the space.
    Prepare,
    /// Send a small file to the temporary contents.
    StoreFile { name: String, file: FileForUpload },
    /// Start the upload of a large file.
    CreateUpload { name: String, file: FileForUpload },
    /// Ask how much of it has arrived.
    LocateUpload { name: String, upload: String },
    /// Send the next part of it.
    SendPart { name: String, file: FileForUpload, upload: String, offset: u64, length: u64 },
    /// Look the file up in the space.
    FindFile { name: String, connection: String },
    /// Put temporary contents in the place of the file `existing`, or of no file.
    CommitFile { name: String, connection: String, upload: String, existing: Option<String> },
    /// List the reloads of an app.
    FindReloads { app: String },
    /// Ask for a reload.
    AskReload { app: String },
    /// Read how a reload goes.
    FollowReload { app: String, id: String },
}

impl DeliveryStep {
    /// The name of the file that it is about.
    pub(super) fn file(&self) -> Option<&str> {
        match self {
            DeliveryStep::StoreFile { name, .. }
            | DeliveryStep::CreateUpload { name, .. }
            | DeliveryStep::LocateUpload { name, .. }
            | DeliveryStep::SendPart { name, .. }
            | DeliveryStep::FindFile { name, .. }
            | DeliveryStep::CommitFile { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether it changes nothing at the tenant.
    pub(super) fn only_reads(&self) -> bool {
        matches!(
            self,
            DeliveryStep::Prepare | DeliveryStep::FindFile { .. } | DeliveryStep::LocateUpload { .. }
        )
    }

    /// The app that it is about.
    pub fn app(&self) -> Option<&str> {
        match self {
            DeliveryStep::FindReloads { app }
            | DeliveryStep::AskReload { app }
            | DeliveryStep::FollowReload { app, .. } => Some(app),
            _ => None,
        }
    }
}

/// What the tenant accepts in the space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpaceLimits {
    /// Id of the connection of the space.
    pub connection: String,
    /// Endings of files without the dot, in lower case; empty if unknown.
    pub extensions: Vec<String>,
    /// Bytes of one request.
    pub direct: u64,
    /// Bytes of one file.
    pub largest: u64,
}

impl SpaceLimits {
    pub fn accepts(&self, format: FileFormat) -> bool {
        self.extensions.is_empty() || self.extensions.iter().any(|ending| ending == format.as_str())
    }
}

/// A file in the space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    pub id: String,
    pub size: u64,
    /// By the tenant's clock.
    pub updated_at: Option<Timestamp>,
}

/// A reload as the tenant shows it. Times are the tenant's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadView {
    pub id: String,
    /// `None` until it has ended.
    pub outcome: Option<ReloadOutcome>,
    pub created_at: Option<Timestamp>,
    /// `None` while it is queued.
    pub started_at: Option<Timestamp>,
    /// Why it failed.
    pub message: Option<String>,
}

/// How a reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadOutcome {
    Succeeded,
    Failed,
    Canceled,
    ExceededLimit,
}

impl ReloadOutcome {
    pub const ALL: [ReloadOutcome; 4] = [
        ReloadOutcome::Succeeded,
        ReloadOutcome::Failed,
        ReloadOutcome::Canceled,
        ReloadOutcome::ExceededLimit,
    ];

    /// The word in logs, metrics and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            ReloadOutcome::Succeeded => "succeeded",
            ReloadOutcome::Failed => "failed",
            ReloadOutcome::Canceled => "canceled",
            ReloadOutcome::ExceededLimit => "exceeded_limit",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum StepResult {
    Prepared(SpaceLimits),
    /// A whole file arrived in the temporary contents.
    Stored {
        upload: String,
    },
    /// An upload was started.
    Created {
        upload: String,
    },
    /// So many bytes of it have arrived.
    Arrived {
        offset: u64,
    },
    FileFound(Option<StoredFile>),
    Committed(StoredFile),
    /// The reloads of the app, newest first, and the tenant's time.
    ReloadsFound {
        reloads: Vec<ReloadView>,
        time: Option<Timestamp>,
    },
    ReloadAccepted {
        id: String,
    },
    ReloadIs(ReloadView),
    Failed(StepFailure),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailure {
    pub kind: FailureKind,
    /// The wait that the tenant requested.
    pub wait: Option<Duration>,
    /// Short, in one line and redacted.
    pub detail: String,
}

impl StepFailure {
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> StepFailure {
        StepFailure { kind, wait: None, detail: detail.into() }
    }

    pub(super) fn rejected(detail: String) -> StepFailure {
        StepFailure::new(FailureKind::Rejected, detail)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Nothing happened, and a retry may succeed.
    Transient,
    /// The request may have had its effect.
    Unclear,
    /// A person must fix something.
    Rejected,
    /// The temporary contents have expired.
    UploadGone,
    /// Another part of the upload is expected.
    WrongOffset,
    /// The space has another file of this name, or not the one that was looked up.
    FileConflict,
    /// The exported file is gone or was replaced.
    FileReplaced,
    /// Another reload of the app is pending.
    ReloadPending,
    /// The tenant's quota for the frequency of reloads is used up.
    ReloadTooFrequent,
    /// The tenant has no such app or reload.
    NotFound,
}
