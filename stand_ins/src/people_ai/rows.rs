//! Activities and participants as the API sends them.

use serde_json::{Value, json};

use super::{Activity, Organisation};
use crate::draw::{below, hex32, pick};

const KINDS: [&str; 3] = ["EMAIL", "MEETING", "CALL"];

impl Organisation {
    pub(super) fn uid(&self, n: u64) -> String {
        hex32(self.seed, "activity", n)
    }

    pub(super) fn kind(&self, n: u64) -> &'static str {
        pick(&KINDS, self.seed, "kind", n)
    }

    pub(super) fn account(&self, n: u64) -> u64 {
        81_000 + below(50, self.seed, "account", n)
    }

    pub(super) fn activity(&self, one: &Activity) -> Value {
        let (n, seed) = (one.n, self.seed);
        let ingested = one.ingested.as_millisecond();
        let stage = below(9, seed, "stage", n);
        let mut row = json!({"uid": self.uid(n), "crm_id": format!("00U{n:015}"), "activity_type": self.kind(n),
            "sub_type": null, "subject": format!("Renewal plan {n}, version {}", one.version),
            "activity_timestamp": one.happened.as_millisecond(), "created_at": one.happened.as_millisecond() + 1,
            "ingested_at": ingested, "modified_at": ingested + 7, "direction": "OUTBOUND",
            "duration": below(90, seed, "duration", n), "original_duration": 0, "external": !n.is_multiple_of(3),
            "is_partner": null, "with_partner": false, "is_blast": false, "is_cold": n.is_multiple_of(5),
            "matched_to": "opportunity", "number_of_participants": self.participant_count(n),
            "account_id": self.account(n), "account_crm_id": "0015e00000AAAAAAA1",
            "opportunity_id": 99_000 + n % 7, "opportunity_crm_id": "0065e00000BBBBBBB2",
            "opportunity_ids": [99_000 + n % 7], "opportunity_crm_ids": ["0065e00000BBBBBBB2"],
            "opportunity_stage_id": if self.rules.stage_as_text { json!(stage.to_string()) } else { json!(stage) },
            "lead_id": null, "lead_crm_id": null, "user_id": 9_007_199_254_740_993_u64 + n,
            "source_id": format!("<{n}@mail.examplify.test>"), "email_reply_time": null,
            "in_reply_to_source_id": null, "followed_meeting_source_id": null, "deleted": one.deleted});
        let Some(object) = row.as_object_mut() else { return row };
        if self.kind(n) == "CALL" {
            object.insert("outbound_phone_number".into(), json!("+15550100"));
        }
        // Which fields come varies by record.
        if n % 13 == 6 {
            object.remove("is_partner");
            object.remove("sub_type");
        }
        for (field, value) in self.edits.get(&n).into_iter().flatten() {
            match value {
                Some(value) => object.insert(field.clone(), value.clone()),
                None => object.remove(field),
            };
        }
        row
    }

    pub(super) fn participant_count(&self, n: u64) -> u64 {
        1 + below(3, self.seed, "people", n)
    }

    /// Every fifth is known by telephone only, and of these every other has not even a number.
    pub(super) fn participants(&self, one: &Activity) -> Vec<Value> {
        let row = |k: u64| {
            let (id, place) = (one.n * 10 + k, one.n * 3 + k);
            let person = below(500, self.seed, "person", id);
            let mut row = json!({"id": id, "activity_uid": self.uid(one.n), "uid": self.uid(one.n),
                "name": format!("Person {person}"), "email": format!("p{person}.{k}@examplify.test"),
                "phone_number": null, "job_title": "CTO", "seniority": "C-Level", "department": null,
                "subject": format!("Renewal plan {}, version {}", one.n, one.version), "status": "MATCHED",
                "external": true, "original": true, "is_originator": k == 0, "deleted": one.deleted,
                "account_id": self.account(one.n), "activity_timestamp": one.happened.as_millisecond(),
                "ingested_at": one.ingested.as_millisecond(), "duration": 0, "user_id": null});
            let Some(object) = row.as_object_mut() else { return row };
            if self.rules.hides_uid {
                object.remove("uid");
            }
            if place % 5 == 1 {
                object.insert("email".into(), Value::Null);
                object.insert("phone_number".into(), json!(format!("+1555{:07}", id)));
                object.insert("name".into(), Value::Null);
            }
            if place % 10 == 1 {
                object.remove("email");
                object.remove("phone_number");
            }
            row
        };
        (0..self.participant_count(one.n)).map(row).collect()
    }
}
