//! Activities as People.ai sends them: 25 fields and about 750 bytes, a random text key, made from a fixed seed.

use std::fmt::Write as _;

/// Appends the activity of this number, which happened at `time` (milliseconds since 1970) and came in at `ingested`.
pub(crate) fn write(out: &mut String, number: u64, time: u64, ingested: u64) {
    let (a, b) = (mix(number), mix(number ^ 0x5bd1_e995));
    // Writing into a text cannot fail.
    let _ = write!(
        out,
        "{{\"uid\":\"{a:016x}{b:016x}\",\"crm_id\":\"00U5e{a:013x}\",\"activity_type\":\"EMAIL\",\"sub_type\":null,\
         \"subject\":\"Renewal plan for quarter {} and what to do about it\",\"activity_timestamp\":{time},\
         \"created_at\":{},\"ingested_at\":{ingested},\"modified_at\":{},\"direction\":\"OUTBOUND\",\"duration\":{},\
         \"external\":{},\"is_partner\":null,\"is_blast\":false,\"matched_to\":\"opportunity\",\
         \"number_of_participants\":{},\"account_id\":{},\"account_crm_id\":\"0015e{b:013x}\",\
         \"opportunity_id\":{},\"opportunity_ids\":[{},{}],\"opportunity_stage_id\":\"{}\",\"score\":{}.{:02},\
         \"user_id\":{},\"source_id\":\"<{a:x}.{b:x}@mail.example.com>\",\"deleted\":false}}",
        number % 9,
        time + 60,
        ingested + 35,
        a % 3_600,
        a % 2 == 0,
        b % 20,
        a % 100_000,
        b % 1_000_000,
        b % 1_000_000,
        a % 1_000_000,
        a % 12,
        a % 100,
        b % 100,
        b % 5_000,
    );
}

/// A scrambled number, so that keys come in no order.
pub(crate) fn mix(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
