//! Content encodings: the bytes of a body as they were before the service compressed them.
//!
//! gzip and deflate are undone, also gzip in several members (RFC 1952, 2.2), which libraries that decode while they read
//! stop at the first of. Anything else was not asked for and is named. Start at [`decoded`].

use std::io::Read;

use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};

use super::Failure;

/// How each member of a gzip stream begins.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What is asked for.
pub(super) const ACCEPTED: &str = "gzip";

/// Decoding a larger body is not done on the threads that wait for the network.
const INLINE: usize = 64 << 10;

/// Undoes the encodings that `Content-Encoding` names, the last first; at most `cap` bytes may come of it.
pub(super) async fn decoded(body: Vec<u8>, encodings: &str, cap: usize) -> Result<Vec<u8>, Failure> {
    let names: Vec<String> = encodings
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty() && name != "identity")
        .collect();
    if names.is_empty() || body.is_empty() {
        return Ok(body);
    }
    let small = body.len() < INLINE;
    let undo = move || names.iter().rev().try_fold(body, |body, name| undone(&body, name, cap));
    if small {
        return undo();
    }
    match tokio::task::spawn_blocking(undo).await {
        Ok(decoded) => decoded,
        Err(e) => Err(Failure::Encoding(format!("the body cannot be decoded: {e}"))),
    }
}

fn undone(body: &[u8], name: &str, cap: usize) -> Result<Vec<u8>, Failure> {
    match name {
        "gzip" | "x-gzip" => members(body, cap),
        // Some services send the raw stream under this name, without the wrapper that the name stands for.
        "deflate" => read(ZlibDecoder::new(body), cap, Vec::new(), name)
            .or_else(|_| read(DeflateDecoder::new(body), cap, Vec::new(), name)),
        other => Err(Failure::Encoding(format!(
            "the body is encoded as {other:?}, which was not asked for (Accept-Encoding: {ACCEPTED})"
        ))),
    }
}

/// All members of a gzip stream, and the zeros that may pad it.
fn members(mut rest: &[u8], cap: usize) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    while rest.iter().any(|byte| *byte != 0) {
        if !MAGIC.starts_with(&rest[..rest.len().min(MAGIC.len())]) {
            return Err(Failure::Encoding("the body is said to be gzip and is not".into()));
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
        std::io::ErrorKind::UnexpectedEof => Failure::Broken(format!("the {name} stream is cut off")),
        _ => Failure::Encoding(format!("the body is said to be {name} and is not ({e})")),
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

    #[tokio::test]
    async fn every_member_is_read_and_every_fault_is_named() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(b"abc").unwrap();
        let large = "x".repeat(200_000);
        let cut = gzip("abcdef")[..12].to_vec();
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
            ("gzip", cut, Err(Failure::Broken("the gzip stream is cut off".into()))),
        ] {
            let decoded = decoded(body, name, 300_000).await.map(|body| String::from_utf8(body).unwrap());
            assert_eq!(decoded, want.map(str::to_owned), "{name}");
        }
        for (name, body, words) in
            [("br", &b"abc"[..], "encoded as \"br\""), ("gzip", b"{\"a\":1}", "said to be gzip and is not")]
        {
            let failure = decoded(body.to_vec(), name, 100).await.unwrap_err();
            assert!(matches!(&failure, Failure::Encoding(said) if said.contains(words)), "{failure:?}");
        }
    }
}
