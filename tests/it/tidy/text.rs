//! Reading Rust as text: enough to find strings, comments and declarations.

/// A file without its inline test modules: each goes from `#[cfg(test)]` to the end of the item that follows.
pub(super) fn without_tests(source: &str) -> String {
    let mut kept = String::new();
    let mut rest = source;
    while let Some(at) = rest.find("#[cfg(test)]\nmod ") {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        let (block, file) = (rest.find("{\n"), rest.find(";\n"));
        let end = match (block, file) {
            (Some(block), file) if file.is_none_or(|file| block < file) => {
                rest.find("\n}\n").map(|at| at + 3)
            }
            (_, Some(file)) => Some(file + 2),
            _ => None,
        };
        rest = &rest[end.unwrap_or(rest.len())..];
    }
    kept + rest
}

/// A piece of Rust text that people may read.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'a> {
    /// The inside of a literal.
    Literal(&'a str),
    Comment(&'a str),
    Code(&'a str),
}

/// A source in its pieces, in order.
pub(super) fn pieces(source: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let (mut code, mut at) = (0, 0);
    while at < source.len() {
        let rest = &source[at..];
        let Some((piece, length)) = quoted(rest) else {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        };
        found.push(Piece::Code(&source[code..at]));
        found.extend(piece);
        at += length;
        code = at;
    }
    found.push(Piece::Code(&source[code..]));
    found
}

/// A comment, literal or character that begins here, and how long it is.
fn quoted(rest: &str) -> Option<(Option<Piece<'_>>, usize)> {
    if rest.starts_with("//") {
        let end = rest.find('\n').unwrap_or(rest.len());
        return Some((Some(Piece::Comment(&rest[..end])), end));
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        // A lifetime has no second quote where a character has it; only an escaped one may be longer.
        let escaped = inside.starts_with('\\');
        let first = if escaped { 2 } else { inside.chars().next()?.len_utf8() };
        let end = first + inside.get(first..)?.find('\'').filter(|&at| at == 0 || escaped)?;
        return Some((None, end + 2));
    }
    if let Some(raw) = rest.strip_prefix('r') {
        let marks = raw.len() - raw.trim_start_matches('#').len();
        let inside = raw[marks..].strip_prefix('"')?;
        let end = inside.find(&format!("\"{}", "#".repeat(marks)))?;
        return Some((Some(Piece::Literal(&inside[..end])), end + 3 + 2 * marks));
    }
    let inside = rest.strip_prefix('"')?;
    let mut escaped = false;
    let end = inside.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some((Some(Piece::Literal(&inside[..end])), end + 2))
}

/// A source's code alone, with literals and comments left out.
pub(super) fn code(source: &str) -> String {
    pieces(source)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Code(code) => Some(code),
            Piece::Literal(_) | Piece::Comment(_) => None,
        })
        .collect()
}

#[test]
fn pieces_are_told_apart() {
    use Piece::{Code, Comment, Literal};
    let source = "let a: &'static str = \"a \\\" // b\"; // it's\nlet c = ('\"', '\\'', r#\"d \"e\"\"#);";
    let found = pieces(source);
    let literals: Vec<_> = found.iter().filter(|piece| matches!(piece, Literal(_))).collect();
    assert_eq!(literals, [&Literal("a \\\" // b"), &Literal("d \"e\"")]);
    assert!(found.contains(&Comment("// it's")));
    assert!(!code(source).contains("it's"), "{found:?}");
    assert_eq!(found.last(), Some(&Code(");")));
}

#[test]
fn test_modules_are_left_out() {
    let source = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod tests {\n    c\n}\nd\n";
    assert_eq!(without_tests(source), "a\nb\nd\n");
}
