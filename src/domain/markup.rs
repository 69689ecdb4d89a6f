//! Converts HTML in texts of status pages to plain text: common tags are removed, character references are
//! decoded once. Pure.
//!
//! This is not an HTML parser: text that is not a known tag or reference stays unchanged, so `p95 < 5 s`
//! survives.

use std::borrow::Cow;

const BLOCKS: [&str; 22] = [
    "br",
    "p",
    "div",
    "li",
    "ul",
    "ol",
    "tr",
    "td",
    "th",
    "table",
    "tbody",
    "thead",
    "hr",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "pre",
    "blockquote",
    "section",
];
const INLINE: [&str; 16] = [
    "a", "b", "i", "u", "s", "em", "strong", "span", "code", "small", "sub", "sup", "font", "var", "mark",
    "img",
];
/// Maximum length of a recognised tag with its attributes; bounds the search for its end.
const MAX_TAG: usize = 400;
/// Maximum length of a recognised reference, without `&` and `;`.
const MAX_REFERENCE: usize = 10;

const NAMED: [(&str, char); 36] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("ndash", '–'),
    ("mdash", '—'),
    ("hellip", '…'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("sbquo", '‚'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bdquo", '„'),
    ("laquo", '«'),
    ("raquo", '»'),
    ("bull", '•'),
    ("middot", '·'),
    ("copy", '©'),
    ("reg", '®'),
    ("trade", '™'),
    ("deg", '°'),
    ("euro", '€'),
    ("pound", '£'),
    ("times", '×'),
    ("plusmn", '±'),
    ("larr", '←'),
    ("rarr", '→'),
    ("auml", 'ä'),
    ("ouml", 'ö'),
    ("uuml", 'ü'),
    ("szlig", 'ß'),
    ("eacute", 'é'),
    ("egrave", 'è'),
    ("ntilde", 'ñ'),
];

/// The text as a browser would show it.
pub fn to_text(html: &str) -> Cow<'_, str> {
    if !html.contains(['<', '&']) {
        return Cow::Borrowed(html);
    }
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let found = if rest.starts_with('<') { tag(rest) } else { reference(rest) };
        let (shown, length) = found.unwrap_or_else(|| (rest.chars().next(), 1));
        out.extend(shown);
        rest = &rest[length..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The replacement for the tag at the start of the text, and the tag's length.
fn tag(text: &str) -> Option<(Option<char>, usize)> {
    let head = &text.as_bytes()[1..text.len().min(MAX_TAG)];
    let name_at = usize::from(head.first() == Some(&b'/'));
    let length = head[name_at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let name = std::str::from_utf8(&head[name_at..name_at + length]).ok()?.to_ascii_lowercase();
    let after = head.get(name_at + length)?;
    let end = head.iter().position(|byte| *byte == b'>')?;
    let known = |tags: &[&str]| tags.contains(&name.as_str());
    match (after.is_ascii_whitespace() || matches!(after, b'>' | b'/'), known(&BLOCKS), known(&INLINE)) {
        (true, true, _) => Some((Some(' '), end + 2)),
        (true, _, true) => Some((None, end + 2)),
        _ => None,
    }
}

/// The character for the reference at the start of the text, and the reference's length.
fn reference(text: &str) -> Option<(Option<char>, usize)> {
    let end = text.bytes().take(MAX_REFERENCE + 2).position(|byte| byte == b';')?;
    let name = text.get(1..end)?;
    let code = match name.strip_prefix('#') {
        Some(digits) => match digits.strip_prefix(['x', 'X']) {
            Some(digits) => Some(u32::from_str_radix(digits, 16).ok()?),
            None => Some(digits.parse::<u32>().ok()?),
        },
        None => None,
    };
    let shown = match code {
        Some(code) => char::from_u32(code).filter(|c| *c != '\0').unwrap_or(char::REPLACEMENT_CHARACTER),
        None => NAMED.iter().find(|(known, _)| *known == name)?.1,
    };
    Some((Some(shown), end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tags_are_removed_and_references_decoded_once() {
        for (html, want) in [
            ("Search &amp; export: p95 &gt; 5 s", "Search & export: p95 > 5 s"),
            ("<b>Outage</b> in <i>EU</i>", "Outage in EU"),
            ("Search &#39;slow&#x27;", "Search 'slow'"),
            ("one<br/>two<p class=\"x\">three</p>", "one two three "),
            ("&amp;lt;b&amp;gt;", "&lt;b&gt;"),
            ("&lt;b&gt;", "<b>"),
            ("p95 < 5 s & p99 > 9 s; Vec<String>", "p95 < 5 s & p99 > 9 s; Vec<String>"),
            (
                "AT&T; R&D &unknown; &#xd83d; &#0; &#99999999999;",
                "AT&T; R&D &unknown; \u{fffd} \u{fffd} &#99999999999;",
            ),
            ("<b", "<b"),
            ("<", "<"),
            ("&", "&"),
            ("ä&euro;ö", "ä€ö"),
            ("&ä;", "&ä;"),
        ] {
            assert_eq!(to_text(html), want, "{html}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_accepted_and_does_not_grow(text in "(<|>|&|;|#|x|b|br|amp|/| |ä|39){0,60}|.{0,80}") {
            prop_assert!(to_text(&text).len() <= text.len());
        }
    }
}
