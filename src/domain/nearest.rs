//! Finds the known name that a mistyped one stands for.

/// Maximum number of different letters in a typing error.
pub const SLIP: usize = 2;

/// For names up to this length, a typing error is a single letter; two different letters make another word.
const SHORT: usize = 8;

/// The known name that differs from `name` only by a typing error.
pub fn slip<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let may = if name.len() <= SHORT { 1 } else { SLIP };
    let near = known.map(|other| (distance(name, other), other)).filter(|(by, _)| (1..=may).contains(by));
    near.min().map(|(_, other)| other)
}

/// The known name that `name` most likely stands for: a typing error, a name with all its words, or a similar
/// one.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let words: Vec<&str> = name.split('_').filter(|word| !word.is_empty()).collect();
    let has_all = |other: &&str| {
        words.len() > 1 && words.iter().all(|word| other.split('_').any(|of_other| of_other == *word))
    };
    slip(name, known.clone()).or_else(|| known.clone().find(has_all)).or_else(|| {
        known
            .map(|other| (distance(name, other), other))
            .min()
            .filter(|(by, _)| *by <= name.len() / 3)
            .map(|(_, other)| other)
    })
}

/// The minimum number of letters to insert, remove or replace (Levenshtein distance).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] =
        ["QLIK_API_KEY", "QLIK_TENANT_URL", "POLL_INTERVAL", "LISTEN", "LOG_FILE", "HTTP_PROXY"];

    #[test]
    fn suggests_what_was_meant() {
        for (name, want) in [
            ("QLIK_APIKEY", Some("QLIK_API_KEY")),
            ("QLIK_TENANT", Some("QLIK_TENANT_URL")),
            ("QLIK_URL", Some("QLIK_TENANT_URL")),
            ("POLL_INTERVALL", Some("POLL_INTERVAL")),
            ("POLLINTERVAL", Some("POLL_INTERVAL")),
            ("EDITOR", None),
        ] {
            assert_eq!(nearest(name, KNOWN.into_iter()), want, "{name}");
        }
    }

    #[test]
    fn names_of_other_programs_are_not_typing_errors() {
        for (name, want) in [
            ("QLIK_APIKEY", Some("QLIK_API_KEY")),
            ("LISTENER", None),
            ("LISTEN_FDS", None),
            ("LOG_DIR", None),
            ("LOGNAME", None),
            ("LISTEN", None),
        ] {
            assert_eq!(slip(name, KNOWN.into_iter()), want, "{name}");
        }
    }
}
