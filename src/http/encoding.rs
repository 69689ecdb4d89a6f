//! Content encodings: decompresses gzip and deflate bodies.
//!
//! gzip may have several members (RFC 1952, 2.2); streaming decoders of HTTP libraries stop after the first one. Any other
//! encoding is an error. Start at [`decompress`].

use std::borrow::Cow;
use std::io::Read;

use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};

use super::Failure;

/// First bytes of each gzip member.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

pub(super) const ACCEPTED: &str = "gzip";

/// Larger bodies are decoded on a blocking thread.
const INLINE: usize = 64 << 10;

/// Decodes the encodings in `Content-Encoding`, the last one first. The result of each may have at most `cap` bytes.
///
/// # Errors
/// [`Failure::TooLarge`] above the cap, [`Failure::Encoding`] for an unsupported encoding or a body that does not match it,
/// [`Failure::Broken`] for a truncated stream.
pub fn decompress<'a>(body: &'a [u8], encodings: &str, cap: usize) -> Result<Cow<'a, [u8]>, Failure> {
    if body.is_empty() {
        return Ok(Cow::Borrowed(body));
    }
    names(encodings).rev().try_fold(Cow::Borrowed(body), |body, name| {
        decode(&body, &name.to_ascii_lowercase(), cap).map(Cow::Owned)
    })
}

/// Like [`decompress`] for an owned body; a large one is decoded on a blocking thread.
pub(super) async fn decompressed(body: Vec<u8>, encodings: String, cap: usize) -> Result<Vec<u8>, Failure> {
    if names(&encodings).next().is_none() {
        return Ok(body);
    }
    if body.len() < INLINE {
        return decompress(&body, &encodings, cap).map(Cow::into_owned);
    }
    match tokio::task::spawn_blocking(move || decompress(&body, &encodings, cap).map(Cow::into_owned)).await {
        Ok(decoded) => decoded,
        Err(e) => Err(Failure::Encoding(format!("cannot decode the body: {e}"))),
    }
}

fn names(encodings: &str) -> impl DoubleEndedIterator<Item = &str> {
    let names = encodings.split(',').map(str::trim);
    names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"))
}

fn decode(body: &[u8], name: &str, cap: usize) -> Result<Vec<u8>, Failure> {
    match name {
        "gzip" | "x-gzip" => members(body, cap),
        // Some services send raw deflate without the zlib wrapper that the standard requires.
        "deflate" => read(ZlibDecoder::new(body), cap, Vec::new(), name)
            .or_else(|_| read(DeflateDecoder::new(body), cap, Vec::new(), name)),
        other => Err(Failure::Encoding(format!(
            "the body is encoded as {other:?}, which was not requested (Accept-Encoding: {ACCEPTED})"
        ))),
    }
}

/// Decodes all members of a gzip stream, which may be padded with zeros.
fn members(mut rest: &[u8], cap: usize) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    while rest.iter().any(|byte| *byte != 0) {
        if !MAGIC.starts_with(&rest[..rest.len().min(MAGIC.len())]) {
            return Err(Failure::Encoding("the body is not gzip, although Content-Encoding says so".into()));
        }
        let mut member = GzDecoder::new(rest);
        out = read(&mut member, cap, out, "gzip")?;
        rest = member.into_inner();
    }
    Ok(out)
}

fn read(from: impl Read, cap: usize, mut out: Vec<u8>, name: &str) -> Result<Vec<u8>, Failure> {
    let left = u64::try_from(cap.saturating_sub(out.len())).unwrap_or(u64::MAX);
    from.take(left.saturating_add(1)).read_to_end(&mut out).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => Failure::Broken(format!("the {name} stream is truncated")),
        _ => Failure::Encoding(format!("the body is not {name}, although Content-Encoding says so ({e})")),
    })?;
    if out.len() > cap { Err(Failure::TooLarge(cap)) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn every_member_is_read_and_every_error_is_specific() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"abc").unwrap();
        let large = "x".repeat(200_000);
        let truncated = gzip("abcdef")[..12].to_vec();
        for (name, body, want) in [
            ("gzip", gzip("abc"), Ok("abc")),
            ("GZIP", [gzip("ab"), gzip("c")].concat(), Ok("abc")),
            ("x-gzip", [gzip(""), gzip("abc"), vec![0; 9]].concat(), Ok("abc")),
            (
                "gzip, gzip",
                {
                    let inner = gzip("abc");
                    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
                    out.write_all(&inner).unwrap();
                    out.finish().unwrap()
                },
                Ok("abc"),
            ),
            ("deflate", zlib.finish().unwrap(), Ok("abc")),
            ("identity", b"abc".to_vec(), Ok("abc")),
            ("gzip", Vec::new(), Ok("")),
            ("gzip", [gzip(&large), gzip(&large)].concat(), Err(Failure::TooLarge(300_000))),
            ("gzip", truncated, Err(Failure::Broken("the gzip stream is truncated".into()))),
        ] {
            let decoded = decompress(&body, name, 300_000);
            let decoded = decoded.map(|body| String::from_utf8(body.into_owned()).unwrap());
            assert_eq!(decoded, want.map(str::to_owned), "{name}");
        }
        for (name, body, words) in
            [("br", &b"abc"[..], "encoded as \"br\""), ("gzip", b"{\"a\":1}", "is not gzip")]
        {
            let failure = decompress(body, name, 100).unwrap_err();
            assert!(matches!(&failure, Failure::Encoding(said) if said.contains(words)), "{failure:?}");
        }
    }
}
