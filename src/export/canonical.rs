//! One spelling for numbers and documents, so that both kinds of databases give the same file.
//!
//! SQLite keeps a number or document as the source wrote it, PostgreSQL its meaning: `1.50` and `1.5`, `{"b":1,"a":2}` and
//! `{"a": 2, "b": 1}`. Nothing is rounded. Start at [`Exact::parse`] and [`json`].

/// Digits of a number in plain notation; beyond them it has an exponent.
const PLAIN_DIGITS: i64 = 1_000;

/// Depth of nesting that is rewritten. PostgreSQL stores no deeper documents.
const MAX_DEPTH: usize = 1_000;

/// Decimal digits that 16 bytes hold.
pub(super) const PRECISION: u8 = 38;

/// A decimal number: ±0.DIGITS × 10^`point`, without zeros at either end of the digits. Zero has no digits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exact {
    negative: bool,
    digits: Vec<u8>,
    point: i64,
}

impl Exact {
    /// Reads a number with or without an exponent; `None` if it is not a number.
    pub(super) fn parse(text: &str) -> Option<Exact> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (negative, unsigned) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, part) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(part.bytes()).collect();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let leading = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..leading);
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Some(Exact { negative: false, digits, point: 0 });
        }
        let before = i64::try_from(whole.len()).ok()?.checked_sub(i64::try_from(leading).ok()?)?;
        Some(Exact { negative, digits, point: before.checked_add(exponent)? })
    }

    /// Digits before and after the decimal point.
    pub(super) fn extent(&self) -> (u64, u64) {
        let count = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        let after = count.saturating_sub(self.point);
        (self.point.max(0).unsigned_abs(), after.max(0).unsigned_abs())
    }

    /// The number × 10^`scale`; `None` if it is not an integer of at most 38 digits.
    pub(super) fn unscaled(&self, scale: u8) -> Option<i128> {
        let zeros = self.point + i64::from(scale) - i64::try_from(self.digits.len()).ok()?;
        if zeros < 0 || self.point + i64::from(scale) > i64::from(PRECISION) {
            return if self.digits.is_empty() { Some(0) } else { None };
        }
        let number = self.digits.iter().fold(0_i128, |number, digit| number * 10 + i128::from(digit - b'0'));
        let number = number * 10_i128.pow(u32::try_from(zeros).ok()?);
        Some(if self.negative { -number } else { number })
    }

    /// Appends the shortest spelling.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let (before, after) = self.extent();
        if self.digits.is_empty() {
            out.push(b'0');
            return;
        }
        if self.negative {
            out.push(b'-');
        }
        let limit = PLAIN_DIGITS.unsigned_abs();
        if before > limit || after > limit {
            let (first, rest) = self.digits.split_at(1);
            out.extend_from_slice(first);
            if !rest.is_empty() {
                out.push(b'.');
                out.extend_from_slice(rest);
            }
            out.extend_from_slice(format!("e{}", self.point.saturating_sub(1)).as_bytes());
            return;
        }
        let point = usize::try_from(self.point.max(0)).unwrap_or(0);
        let whole = self.digits.get(..point.min(self.digits.len())).unwrap_or_default();
        out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
        out.extend(std::iter::repeat_n(b'0', point.saturating_sub(self.digits.len())));
        if after > 0 {
            out.push(b'.');
            let zeros = usize::try_from((-self.point).max(0)).unwrap_or(0);
            out.extend(std::iter::repeat_n(b'0', zeros));
            out.extend_from_slice(self.digits.get(whole.len()..).unwrap_or_default());
        }
    }
}

/// Whether an integer is already in its shortest spelling.
fn is_plain(number: &str) -> bool {
    let digits = number.as_bytes();
    digits.len() < 19 && digits.first() != Some(&b'0') && digits.iter().all(u8::is_ascii_digit)
}

/// Appends a number of any kind: not-a-number and infinities as SQLite's text has them.
pub(super) fn number(text: &str, out: &mut Vec<u8>) {
    match Exact::parse(text) {
        Some(exact) => exact.write(out),
        None if text == "Infinity" => out.extend_from_slice(b"inf"),
        None if text == "-Infinity" => out.extend_from_slice(b"-inf"),
        None => out.extend_from_slice(text.as_bytes()),
    }
}

/// Appends a document without blanks, with sorted keys, the last of equal keys, and numbers in one spelling. Text that is no
/// document, or nested too deeply, is appended as it is.
pub(super) fn json(bytes: &[u8], out: &mut Vec<u8>) {
    let Some(text) = (if is_settled(bytes) { None } else { std::str::from_utf8(bytes).ok() }) else {
        return out.extend_from_slice(bytes);
    };
    let start = out.len();
    let mut parser = JsonParser { text, at: 0 };
    let done = parser.value(out, 0).is_some() && {
        parser.skip_blanks();
        parser.at == text.len()
    };
    if !done {
        out.truncate(start);
        out.extend_from_slice(text.as_bytes());
    }
}

/// Whether nothing in a document can have another spelling: no object, no blank, no escape, only plain integers.
fn is_settled(document: &[u8]) -> bool {
    const OPEN: [bool; 256] = {
        let mut open = [false; 256];
        let bytes = b" \t\n\r{\\.+-eE";
        let mut at = 0;
        while at < bytes.len() {
            open[bytes[at] as usize] = true;
            at += 1;
        }
        open
    };
    !document.iter().any(|byte| OPEN[usize::from(*byte)])
}

struct JsonParser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> JsonParser<'a> {
    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.skip_blanks();
        match self.peek()? {
            _ if depth > MAX_DEPTH => None,
            b'{' => self.object(out, depth),
            b'[' => self.array(out, depth),
            b'"' => {
                let (raw, escaped) = self.string()?;
                append_text(raw, escaped, out)
            }
            b'-' | b'0'..=b'9' => {
                let word = self.word();
                if is_plain(word) {
                    out.extend_from_slice(word.as_bytes());
                    return Some(());
                }
                Exact::parse(word)?.write(out);
                Some(())
            }
            _ => {
                let word = self.word();
                matches!(word, "null" | "true" | "false").then(|| out.extend_from_slice(word.as_bytes()))
            }
        }
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.eat(b'[')?;
        out.push(b'[');
        self.skip_blanks();
        if self.peek()? != b']' {
            loop {
                self.value(out, depth + 1)?;
                self.skip_blanks();
                if self.peek()? == b']' {
                    break;
                }
                self.eat(b',')?;
                out.push(b',');
            }
        }
        self.eat(b']')?;
        out.push(b']');
        Some(())
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.eat(b'{')?;
        // Keys as written in the result, and the end of their values in `values`.
        let (mut members, mut values) = (Vec::<(Vec<u8>, usize, usize)>::new(), Vec::new());
        self.skip_blanks();
        if self.peek()? != b'}' {
            loop {
                self.skip_blanks();
                let (raw, escaped) = self.string()?;
                let mut key = Vec::with_capacity(raw.len());
                append_text(raw, escaped, &mut key)?;
                self.skip_blanks();
                self.eat(b':')?;
                let start = values.len();
                self.value(&mut values, depth + 1)?;
                members.push((key, start, values.len()));
                self.skip_blanks();
                if self.peek()? == b'}' {
                    break;
                }
                self.eat(b',')?;
            }
        }
        self.eat(b'}')?;
        members.sort_by(|one, other| one.0.cmp(&other.0));
        out.push(b'{');
        let mut first = true;
        for (nth, (key, start, end)) in members.iter().enumerate() {
            if members.get(nth + 1).is_some_and(|next| next.0 == *key) {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            out.extend_from_slice(key);
            out.push(b':');
            out.extend_from_slice(values.get(*start..*end)?);
        }
        out.push(b'}');
        Some(())
    }

    /// The next string with its quotes, and whether it has escapes.
    fn string(&mut self) -> Option<(&'a str, bool)> {
        let start = self.at;
        self.eat(b'"')?;
        let mut escaped = false;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some((self.text.get(start..self.at)?, escaped));
                }
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                0..=0x1f => return None,
                _ => self.at += 1,
            }
        }
    }

    /// The next number or literal.
    fn word(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let ends = |c: char| matches!(c, ',' | ']' | '}' | ' ' | '\t' | '\n' | '\r');
        let word = rest.split(ends).next().unwrap_or_default();
        self.at += word.len();
        word
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }
}

/// Appends a string, quoted, with as few escapes as possible.
fn append_text(raw: &str, escaped: bool, out: &mut Vec<u8>) -> Option<()> {
    if !escaped {
        out.extend_from_slice(raw.as_bytes());
        return Some(());
    }
    let text: String = serde_json::from_str(raw).ok()?;
    serde_json::to_writer(out, &text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spelled(text: &str) -> String {
        let mut out = Vec::new();
        number(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn document(text: &str) -> String {
        let mut out = Vec::new();
        json(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn equal_numbers_have_one_spelling() {
        for (text, want) in [
            ("1.50", "1.5"),
            ("15e-1", "1.5"),
            ("+007", "7"),
            ("-0.00", "0"),
            ("1E3", "1000"),
            ("-1e-3", "-0.001"),
            ("0.0012", "0.0012"),
            ("123456789012345678901234567890.5", "123456789012345678901234567890.5"),
            ("1.25e2000", "1.25e2000"),
            ("1e-2000", "1e-2000"),
            ("Infinity", "inf"),
            ("NaN", "NaN"),
        ] {
            assert_eq!(spelled(text), want, "{text}");
        }
    }

    #[test]
    fn numbers_fit_a_scale_exactly_or_not_at_all() {
        for (text, scale, want) in [
            ("1.5", 1, Some(15)),
            ("1.5", 3, Some(1_500)),
            ("1.5", 0, None),
            ("-20", 0, Some(-20)),
            ("0", 38, Some(0)),
            ("99999999999999999999999999999999999999", 0, Some(10_i128.pow(38) - 1)),
            ("100000000000000000000000000000000000000", 0, None),
            ("1", 38, None),
        ] {
            assert_eq!(Exact::parse(text).unwrap().unscaled(scale), want, "{text} {scale}");
        }
    }

    #[test]
    fn equal_documents_have_one_spelling() {
        for (text, want) in [
            (
                r#"{ "b": [1.0, 2e2], "a": {"z": null, "y": true} }"#,
                r#"{"a":{"y":true,"z":null},"b":[1,200]}"#,
            ),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#""caf\u00e9 \/ \n""#, "\"café / \\n\""),
            (r#"{"\u0061":1,"b":{}}"#, r#"{"a":1,"b":{}}"#),
            ("[]", "[]"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("{not a document}", "{not a document}"),
            ("[1,]", "[1,]"),
            ("[1] 2", "[1] 2"),
            ("\"", "\""),
        ] {
            assert_eq!(document(text), want, "{text}");
        }
        let deep = "[".repeat(3_000) + &"]".repeat(3_000);
        assert_eq!(document(&deep), deep);
    }

    proptest! {
        #[test]
        fn any_text_is_accepted(text in ".{0,40}", like in "(\\{|\\}|\\[|\\]|:|,|\"a\"|\"|\\\\|1|-|e|null| ){0,24}") {
            let _ = (document(&text), document(&like), spelled(&text));
        }

        /// A rewritten document means the same, and rewriting it again changes nothing.
        #[test]
        fn documents_keep_their_meaning(keys in prop::collection::vec("[a-cé\"\\\\]{0,2}", 0..5), number in any::<i32>()) {
            let members = keys.iter().enumerate();
            let text: Vec<String> = members.map(|(i, key)| format!("{} : [{i}, {number}]", serde_json::json!(key))).collect();
            let text = format!("{{{}}}", text.join(" , "));
            let once = document(&text);
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            prop_assert_eq!(value(&once), value(&text));
            prop_assert_eq!(document(&once), once);
        }
    }
}
