//! The way of each file into the space: upload, look-up, commit.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::step::{DeliveryStep, FailureKind, SpaceLimits, StepFailure, StepResult, StoredFile};
use super::{DataRule, FileForUpload, RunExport};

/// How long temporary contents stay at the tenant. It accepts up to three days.
pub const UPLOAD_TTL: SignedDuration = SignedDuration::from_hours(24);

/// Contents that expire sooner are uploaded again before the first commit, since a commit that fails between two others would
/// leave files of two runs in the space. Covers clocks that are set.
const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_hours(2);

/// Bytes of one request: this much is in memory, and a cut costs at most this much.
pub const PART: u64 = 8 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PendingFile {
    pub(super) file: FileForUpload,
    progress: FileProgress,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FileProgress {
    New,
    Uploading {
        upload: String,
        since: Timestamp,
        /// `None` if it must be asked for.
        offset: Option<u64>,
    },
    Uploaded {
        upload: String,
        since: Timestamp,
    },
    /// The file in the space is known; the commit follows.
    Located {
        upload: String,
        since: Timestamp,
        existing: Option<StoredFile>,
        /// It was sent, and its result is unknown.
        sent: bool,
    },
    Committed,
}

/// The files of an export that the rule selects, by name in the space.
///
/// # Errors
/// Why the tenant would refuse them.
pub(super) fn choose(
    rule: &DataRule,
    export: &RunExport,
    limits: &SpaceLimits,
) -> Result<Vec<(String, FileForUpload)>, String> {
    let wanted = |file: &&FileForUpload| rule.tables.is_empty() || rule.tables.contains(&file.table);
    let mut chosen: BTreeMap<&str, &FileForUpload> = BTreeMap::new();
    for file in export.files.iter().filter(wanted) {
        let best = chosen.entry(&file.table).or_insert(file);
        // The format of the rule if it is allowed, then any that is.
        let rank = |file: &FileForUpload| (limits.accepts(file.format), file.format == rule.format);
        if rank(file) > rank(best) {
            *best = file;
        }
    }
    let missing = rule.tables.iter().find(|table| !chosen.contains_key(table.as_str()));
    if let Some(table) = missing {
        return Err(format!("table {table} has no exported file"));
    }
    let mut named = Vec::new();
    for file in chosen.into_values() {
        let (name, ending) = (file.name_in_space(&rule.connector), file.format.as_str());
        if !limits.accepts(file.format) {
            let known = limits.extensions.join(", ");
            return Err(format!(
                "the tenant accepts no .{ending} files (it accepts {known}); upload CSV instead (format csv)"
            ));
        }
        if file.bytes > limits.largest {
            let (bytes, largest) = (file.bytes, limits.largest);
            return Err(format!("{name} has {bytes} bytes; the tenant accepts {largest}"));
        }
        named.push((name, file.clone()));
    }
    Ok(named)
}

/// The next request that brings a file into the temporary contents.
pub(super) fn next_upload(
    files: &mut BTreeMap<String, PendingFile>,
    limits: &SpaceLimits,
    now: Timestamp,
) -> Option<DeliveryStep> {
    let part = limits.direct.clamp(1, PART);
    files.iter_mut().find_map(|(name, pending)| {
        pending.renew_expired(now);
        let (name, file) = (name.clone(), pending.file.clone());
        match &pending.progress {
            FileProgress::New if file.bytes <= part => Some(DeliveryStep::StoreFile { name, file }),
            FileProgress::New => Some(DeliveryStep::CreateUpload { name, file }),
            FileProgress::Uploading { upload, offset: None, .. } => {
                Some(DeliveryStep::LocateUpload { name, upload: upload.clone() })
            }
            FileProgress::Uploading { upload, offset: Some(offset), .. } => {
                let (upload, offset) = (upload.clone(), *offset);
                let length = part.min(file.bytes - offset);
                Some(DeliveryStep::SendPart { name, file, upload, offset, length })
            }
            FileProgress::Uploaded { .. } | FileProgress::Located { .. } | FileProgress::Committed => None,
        }
    })
}

/// The next request that puts an uploaded file in its place.
pub(super) fn next_commit(
    files: &BTreeMap<String, PendingFile>,
    limits: &SpaceLimits,
) -> Option<DeliveryStep> {
    files.iter().find_map(|(name, pending)| {
        let (name, connection) = (name.clone(), limits.connection.clone());
        match &pending.progress {
            FileProgress::Located { upload, existing, sent: false, .. } => {
                let existing = existing.as_ref().map(|file| file.id.clone());
                Some(DeliveryStep::CommitFile { name, connection, upload: upload.clone(), existing })
            }
            FileProgress::Committed => None,
            _ => Some(DeliveryStep::FindFile { name, connection }),
        }
    })
}

impl PendingFile {
    pub(super) fn new(file: FileForUpload) -> PendingFile {
        PendingFile { file, progress: FileProgress::New }
    }

    pub(super) fn is_committed(&self) -> bool {
        self.progress == FileProgress::Committed
    }

    /// Whether what was uploaded is the content of `file`.
    pub(super) fn can_continue_as(&self, file: &FileForUpload) -> bool {
        self.file == *file && !self.is_committed()
    }

    /// Notes that the commit is about to be sent. Returns whether that is new.
    pub(super) fn intend_commit(&mut self) -> bool {
        match &mut self.progress {
            FileProgress::Located { sent, .. } => !std::mem::replace(sent, true),
            _ => false,
        }
    }

    fn renew_expired(&mut self, now: Timestamp) {
        let since = match &self.progress {
            FileProgress::Uploading { since, .. }
            | FileProgress::Uploaded { since, .. }
            | FileProgress::Located { since, sent: false, .. } => *since,
            _ => return,
        };
        if now.duration_since(since) > UPLOAD_TTL - EXPIRY_MARGIN {
            self.progress = FileProgress::New;
        }
    }

    /// Takes a result. Returns the tenant's time of the commit if the file is committed now.
    pub(super) fn progress(
        &mut self,
        result: StepResult,
        now: Timestamp,
    ) -> Result<Option<Option<Timestamp>>, StepFailure> {
        let bytes = self.file.bytes;
        match (&mut self.progress, result) {
            (FileProgress::New, StepResult::Stored { upload }) => {
                self.progress = FileProgress::Uploaded { upload, since: now };
            }
            (FileProgress::New, StepResult::Created { upload }) => {
                self.progress = FileProgress::Uploading { upload, since: now, offset: Some(0) };
            }
            (FileProgress::Uploading { .. }, StepResult::Arrived { offset }) if offset > bytes => {
                self.progress = FileProgress::New;
                let detail = format!("the tenant has {offset} bytes of {bytes}; the upload starts again");
                return Err(StepFailure::new(FailureKind::Transient, detail));
            }
            (FileProgress::Uploading { upload, since, .. }, StepResult::Arrived { offset: arrived }) => {
                let (upload, since) = (std::mem::take(upload), *since);
                self.progress = if arrived == bytes {
                    FileProgress::Uploaded { upload, since }
                } else {
                    FileProgress::Uploading { upload, since, offset: Some(arrived) }
                };
            }
            (FileProgress::Uploaded { upload, since }, StepResult::FileFound(existing)) => {
                let (upload, since) = (std::mem::take(upload), *since);
                self.progress = FileProgress::Located { upload, since, existing, sent: false };
            }
            (FileProgress::Located { existing, sent, .. }, StepResult::FileFound(found)) => {
                let written = |file: &StoredFile| {
                    file.size == bytes
                        && existing.as_ref().is_none_or(|old| old.updated_at != file.updated_at)
                };
                if let Some(file) = found.as_ref().filter(|file| *sent && written(file)) {
                    let at = file.updated_at;
                    self.progress = FileProgress::Committed;
                    return Ok(Some(at));
                }
                (*existing, *sent) = (found, false);
            }
            (FileProgress::Located { .. }, StepResult::Committed(stored)) => {
                if stored.size != bytes {
                    self.progress = FileProgress::New;
                    let size = stored.size;
                    let detail =
                        format!("the space shows {size} bytes of {bytes}; the file is uploaded again");
                    return Err(StepFailure::new(FailureKind::Transient, detail));
                }
                self.progress = FileProgress::Committed;
                return Ok(Some(stored.updated_at));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Takes a failure. Returns whether the exported file is not the one that was offered.
    pub(super) fn fail(&mut self, step: &DeliveryStep, failure: &StepFailure) -> bool {
        let committing = matches!(step, DeliveryStep::CommitFile { .. });
        match (&mut self.progress, failure.kind) {
            (_, FailureKind::FileReplaced) => return true,
            (FileProgress::Committed, _) => {}
            (_, FailureKind::UploadGone) => self.progress = FileProgress::New,
            (FileProgress::Uploading { offset, .. }, _) => *offset = None,
            // The file is looked up again: the commit may have worked.
            (FileProgress::Located { .. }, FailureKind::Unclear) => {}
            // The commit had no effect. What is there now may be of another program, whatever its size.
            (FileProgress::Located { upload, since, .. }, FailureKind::FileConflict) => {
                let (upload, since) = (std::mem::take(upload), *since);
                self.progress = FileProgress::Uploaded { upload, since };
            }
            (FileProgress::Located { sent, .. }, _) if committing => *sent = false,
            _ => {}
        }
        false
    }
}
