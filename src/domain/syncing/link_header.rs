//! Parses the `Link` header (RFC 8288) for the address of the next page. Start at [`next`].

/// What a header says about the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextLink {
    None,
    /// Its address, possibly relative.
    Found(String),
    /// There is a value that cannot be parsed.
    Unreadable,
}

/// The target of the first link whose first `rel` contains the word `next`. Quoted parameters may contain
/// commas and semicolons; values may be unquoted or, as some services write them, in single quotes.
pub fn next<'v>(values: impl Iterator<Item = &'v str>) -> NextLink {
    let mut unreadable = false;
    for value in values {
        let mut rest = value.trim_matches([' ', '\t', ',']);
        while !rest.is_empty() {
            let Some((target, params)) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')) else {
                unreadable = true;
                break;
            };
            let (is_next, after) = parameters(params);
            if is_next {
                return NextLink::Found(target.trim().to_owned());
            }
            rest = after.trim_matches([' ', '\t', ',']);
        }
    }
    if unreadable { NextLink::Unreadable } else { NextLink::None }
}

/// Parses the parameters of one link. Returns whether they say `next`, and the text after the link.
fn parameters(text: &str) -> (bool, &str) {
    let (mut rest, mut rel) = (text, None);
    loop {
        rest = rest.trim_start();
        let Some(after) = rest.strip_prefix(';') else { break };
        let end = after.find(['=', ';', ',']).unwrap_or(after.len());
        let name = after[..end].trim().trim_end_matches('*');
        let Some(value) = after[end..].strip_prefix('=') else {
            rest = &after[end..];
            continue;
        };
        let (value, after) = parameter(value.trim_start());
        // Only the first `rel` counts.
        if name.eq_ignore_ascii_case("rel") && rel.is_none() {
            rel = Some(value.split_whitespace().any(|word| word.eq_ignore_ascii_case("next")));
        }
        rest = after;
    }
    // Invalid text is skipped up to the next comma.
    let end = rest.find(',').unwrap_or(rest.len());
    (rel.unwrap_or(false), &rest[end..])
}

/// The value of a parameter, and the text after it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quote @ ('"' | '\'')) = text.chars().next() else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            _ if c == quote => return (value, &text[at + c.len_utf8()..]),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: &str) -> NextLink {
        next(std::iter::once(value))
    }

    #[test]
    fn parses_every_form_of_a_link() {
        for value in [
            "</b>; rel=\"next\"",
            "</b>; rel=next",
            "</b>;rel='next'",
            "</b>; title=\"Page two, of three\"; rel=\"next\"",
            "</b>; title=\"a\\\"b, c\"; rel=next",
            "</a,x>; title=\"x; rel=next\"; rel=\"last\", </b>; rel=\"prev next\"",
            "</a>; title=\"a < b\"; rel=\"prev\", </b>; rel=\"next\"",
            "</a>; rel=\"prev\"; rel=\"next\", </b>; rel=\"next\"",
            "</b>; title=\"größe\"; REL=NEXT",
            "</a>; crossorigin; rel=prev,</b>;rel=next;crossorigin",
        ] {
            assert_eq!(read(value), NextLink::Found("/b".into()), "{value}");
        }
        assert_eq!(read("</a>; rel=\"prev\", </c>"), NextLink::None);
        assert_eq!(read(""), NextLink::None);
        assert_eq!(read("/b; rel=\"next\""), NextLink::Unreadable);
        assert_eq!(next(["</a>; rel=prev", "</b>; rel=next"].into_iter()), NextLink::Found("/b".into()));
    }

    proptest! {
        /// Any title is skipped correctly.
        #[test]
        fn titles_hide_nothing(title in "[ -~]{0,20}") {
            let quoted = title.replace('\\', "\\\\").replace('"', "\\\"");
            let value = format!("</a>; title=\"{quoted}\"; rel=\"prev\", </b>; rel=\"next\"");
            prop_assert_eq!(read(&value), NextLink::Found("/b".into()));
        }

        #[test]
        fn any_text_is_accepted(value in "[<>;,=\"' a-z\\\\]{0,40}") {
            read(&value);
        }
    }
}
