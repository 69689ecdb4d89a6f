//! Pseudo-random values that depend only on their arguments, for synthetic sources.

/// A number that is the same for the same arguments, forever.
pub(crate) fn draw(seed: u64, kind: &str, index: u64) -> u64 {
    let mut state = seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in kind.bytes() {
        state = mix(state ^ u64::from(byte));
    }
    mix(state)
}

/// Thirty-two hexadecimal digits, chosen so.
pub(crate) fn hex32(seed: u64, kind: &str, index: u64) -> String {
    format!("{:016x}{:016x}", draw(seed, kind, index), draw(!seed, kind, index))
}

/// Such a number below a bound.
pub(crate) fn below(bound: u64, seed: u64, kind: &str, index: u64) -> u64 {
    draw(seed, kind, index) % bound
}

/// One of several, chosen so.
pub(crate) fn pick<'a>(from: &[&'a str], seed: u64, kind: &str, index: u64) -> &'a str {
    from[below(from.len() as u64, seed, kind, index) as usize]
}

fn mix(mut state: u64) -> u64 {
    state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// A UUID, chosen so.
pub(crate) fn uuid(seed: u64, kind: &str, index: u64) -> String {
    let hex = hex32(seed, kind, index);
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}
