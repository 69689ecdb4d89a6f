//! The title and the logo of the dashboard, as the settings name them.
//!
//! The logo is served by this program. An SVG may contain scripts, so it is shown as an image only, which runs none, and its
//! own policy forbids them when it is opened by itself. Start at [`Brand::new`].

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::domain::text;

/// A larger file is not a logo.
const MAX_LOGO: usize = 256 * 1024;
/// Where an SVG must have its root element, in bytes.
const SVG_HEAD: usize = 4_096;
/// For a logo that is opened by itself: inline styles are common in SVG, scripts and other files are not needed.
const LOGO_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

#[derive(Debug, Clone)]
pub struct Brand {
    pub(super) title: String,
    pub(super) logo: Option<Logo>,
}

#[derive(Debug, Clone)]
pub(super) struct Logo {
    /// Contains a hash of the content, so that browsers cache it forever.
    name: String,
    kind: &'static str,
    body: Bytes,
}

impl Default for Brand {
    fn default() -> Brand {
        Brand { title: "Data Sources Monitor".to_owned(), logo: None }
    }
}

impl Brand {
    /// # Errors
    /// Why the logo cannot be used.
    pub fn new(title: String, logo: Option<Vec<u8>>) -> Result<Brand, String> {
        Ok(Brand { title, logo: logo.map(Logo::new).transpose()? })
    }
}

impl Logo {
    fn new(body: Vec<u8>) -> Result<Logo, String> {
        if body.len() > MAX_LOGO {
            return Err(format!("has {} bytes; at most {MAX_LOGO} are allowed", body.len()));
        }
        let Some((ending, kind)) = kind(&body) else {
            return Err("is not a PNG, SVG or WebP image".to_owned());
        };
        let hash = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Ok(Logo { name: format!("logo.{hash:016x}.{ending}"), kind, body: body.into() })
    }

    pub(super) fn path(&self) -> String {
        format!("/assets/{}", self.name)
    }

    /// The response, if the name is that of this logo.
    pub(super) fn serve(&self, name: &str) -> Option<Response> {
        let headers = [
            (header::CONTENT_TYPE, self.kind),
            (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            (header::CONTENT_SECURITY_POLICY, LOGO_POLICY),
        ];
        (name == self.name).then(|| (headers, self.body.clone()).into_response())
    }
}

/// The ending and the media type, by content.
fn kind(body: &[u8]) -> Option<(&'static str, &'static str)> {
    if body.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some(("png", "image/png"));
    }
    if body.starts_with(b"RIFF") && body.get(8..12) == Some(b"WEBP") {
        return Some(("webp", "image/webp"));
    }
    let text = std::str::from_utf8(body).ok()?;
    let head = &text[..text.floor_char_boundary(SVG_HEAD)];
    let is_markup = text::plain(head).trim_start_matches('\u{feff}').trim_start().starts_with('<');
    (is_markup && head.contains("<svg")).then_some(("svg", "image/svg+xml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logo_is_recognised_by_its_content() {
        for (body, want) in [
            (&b"\x89PNG\r\n\x1a\n..."[..], Some("png")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("webp")),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Some("svg")),
            (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a --><svg/>", Some("svg")),
            (b"<html><body>", None),
            (b"text <svg>", None),
            (b"GIF89a", None),
            (b"\xff\xd8\xff\xe0", None),
            (b"", None),
        ] {
            assert_eq!(kind(body).map(|(ending, _)| ending), want, "{}", String::from_utf8_lossy(body));
        }
        let large = Brand::new("A".into(), Some(vec![b' '; MAX_LOGO + 1])).unwrap_err();
        assert_eq!(large, "has 262145 bytes; at most 262144 are allowed");
    }
}
