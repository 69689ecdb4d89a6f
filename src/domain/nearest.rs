//! The known name that a mistyped one was meant to be.

/// How many letters two names may differ in to be taken for the same one: a slip, not another word.
pub const SLIP: usize = 2;

/// Names this short differ by one letter only in a slip; with two they are other words.
const SHORT: usize = 8;

/// The known name that differs from `name` by a slip of the keyboard.
pub fn slip<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let may = if name.len() <= SHORT { 1 } else { SLIP };
    let near = known.map(|other| (distance(name, other), other)).filter(|(by, _)| (1..=may).contains(by));
    near.min().map(|(_, other)| other)
}

/// The known name that `name` most likely stands for: a slip, one that has all its words, or one that is alike.
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

/// The least number of letters to insert, remove or replace (Levenshtein).
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

    /// What another program's variable may be called is no slip of ours.
    #[test]
    fn foreign_names_are_no_slips() {
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
