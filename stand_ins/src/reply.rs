//! A response of a stand-in server, valid or broken.
//!
//! Start with [`Reply::json`] and the like for a fixed response, or with [`Reply::usual`] for the model's own (its
//! state changed accordingly), and refine: `Reply::usual().reset()` is a write that was applied and whose response
//! was lost.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream;
use serde_json::Value;
use tokio::sync::watch;

use crate::connection::{Line, Manner};

/// How long half a response has to be sent before its connection is closed.
const LEAVE: Duration = Duration::from_millis(2);

/// One response. Clones share a [`Gate`], nothing else.
#[derive(Clone, Default)]
pub struct Reply {
    usual: bool,
    status: Option<u16>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    edit: Option<Edit>,
    gate: Option<Gate>,
    delay: Duration,
    fate: Fate,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Fate {
    #[default]
    Sent,
    Hang,
    Reset,
    CutOff,
    SlowHeaders(Duration),
    SlowBody(usize, Duration),
}

#[derive(Clone, Copy)]
enum Edit {
    Bom,
    Half,
    NotUtf8,
    PadTo(usize),
}

impl Reply {
    /// The model's response, to be refined.
    pub fn usual() -> Reply {
        Reply { usual: true, ..Reply::default() }
    }

    /// An empty answer with this status.
    pub fn status(status: u16) -> Reply {
        Reply { status: Some(status), ..Reply::default() }
    }

    /// JSON with 200.
    pub fn json(body: &Value) -> Reply {
        Reply::text("application/json; charset=utf-8", &body.to_string())
    }

    /// A text of any content type, with 200.
    pub fn text(kind: &str, body: &str) -> Reply {
        Reply { body: body.as_bytes().to_vec(), ..Reply::status(200).header("content-type", kind) }
    }

    /// Bytes as they are, with 200.
    pub fn bytes(kind: &str, body: Vec<u8>) -> Reply {
        Reply { body, ..Reply::status(200).header("content-type", kind) }
    }

    /// The page that a website serves for every path, with 200.
    pub fn html() -> Reply {
        let page = "<!doctype html><html><head><title>Welcome</title></head><body>Hello {}</body></html>";
        Reply::text("text/html; charset=utf-8", page)
    }

    /// A redirect.
    pub fn redirect(status: u16, to: &str) -> Reply {
        Reply::status(status).header("location", to)
    }

    /// 429, with `retry-after` if given, and an empty body.
    pub fn too_many(retry_after_seconds: Option<u32>) -> Reply {
        let reply = Reply::status(429);
        match retry_after_seconds {
            Some(seconds) => reply.header("retry-after", &seconds.to_string()),
            None => reply,
        }
    }

    /// No response, ever; the connection stays open.
    pub fn hang() -> Reply {
        Reply { fate: Fate::Hang, ..Reply::default() }
    }

    /// The connection is reset, and the model never got the request.
    pub fn dropped() -> Reply {
        Reply { fate: Fate::Reset, ..Reply::default() }
    }

    /// With another status.
    pub fn with_status(mut self, status: u16) -> Reply {
        self.status = Some(status);
        self
    }

    /// With a header set, replacing the one of that name.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The response is lost: the client gets a connection reset in its place.
    pub fn reset(mut self) -> Reply {
        self.fate = Fate::Reset;
        self
    }

    /// The connection closes after half of the announced body.
    pub fn cut_off(mut self) -> Reply {
        self.fate = Fate::CutOff;
        self
    }

    /// Sends everything from the status line on byte by byte, with this pause before each.
    pub fn slow_headers(mut self, pause: Duration) -> Reply {
        self.fate = Fate::SlowHeaders(pause);
        self
    }

    /// Sends the body in pieces of so many bytes, with this pause before each.
    pub fn drip(mut self, bytes: usize, pause: Duration) -> Reply {
        self.fate = Fate::SlowBody(bytes, pause);
        self
    }

    /// Delays the response, in real time; the model handles the request at once.
    pub fn late(mut self, by: Duration) -> Reply {
        self.delay = by;
        self
    }

    /// Sent when the gate opens; the model handles the request at once.
    pub fn held_by(mut self, gate: &Gate) -> Reply {
        self.gate = Some(gate.clone());
        self
    }

    /// With a byte order mark before the body.
    pub fn bom(self) -> Reply {
        self.edited(Edit::Bom)
    }

    /// With only the first half of the body, correctly framed: JSON that breaks off.
    pub fn half(self) -> Reply {
        self.edited(Edit::Half)
    }

    /// With a byte that is not UTF-8 in place of the first blank.
    pub fn not_utf8(self) -> Reply {
        self.edited(Edit::NotUtf8)
    }

    /// With blanks after the body up to this many bytes.
    pub fn padded_to(self, bytes: usize) -> Reply {
        self.edited(Edit::PadTo(bytes))
    }

    fn edited(mut self, edit: Edit) -> Reply {
        self.edit = Some(edit);
        self
    }

    pub(crate) fn later(mut self, by: Duration) -> Reply {
        self.delay += by;
        self
    }

    pub(crate) fn needs_usual(&self) -> bool {
        self.usual
    }

    /// The model's response with the refinements of this one.
    pub(crate) fn over(self, usual: Reply) -> Reply {
        let mut headers = usual.headers;
        headers.retain(|(name, _)| !self.headers.iter().any(|(mine, _)| mine == name));
        headers.extend(self.headers);
        Reply { usual: false, status: self.status.or(usual.status), headers, body: usual.body, ..self }
    }

    /// The status that the client will see, if any.
    pub(crate) fn seen_status(&self) -> Option<u16> {
        (!matches!(self.fate, Fate::Hang | Fate::Reset)).then(|| self.status.unwrap_or(200))
    }

    pub(crate) async fn send(self, line: &Line) -> Response {
        tokio::time::sleep(self.delay).await;
        if let Some(gate) = &self.gate {
            gate.opened().await;
        }
        line.set(match self.fate {
            Fate::Reset => Manner::Reset,
            Fate::SlowHeaders(pause) => Manner::Drip(pause),
            _ => Manner::Sound,
        });
        if self.fate == Fate::Hang {
            std::future::pending::<()>().await;
        }
        let body = match self.edit {
            Some(edit) => edit.apply(self.body),
            None => self.body,
        };
        let mut response = Response::builder().status(self.status.unwrap_or(200));
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        let body = match self.fate {
            Fate::SlowBody(bytes, pause) => dripping(Bytes::from(body), bytes, pause),
            Fate::CutOff => {
                response = response.header("content-length", body.len());
                breaking(&Bytes::from(body))
            }
            _ => Body::from(body),
        };
        // Only a header that HTTP forbids is an error here.
        response.body(body).unwrap_or_else(|e| failed(&e))
    }
}

impl Edit {
    fn apply(self, mut body: Vec<u8>) -> Vec<u8> {
        match self {
            Edit::Bom => [b"\xef\xbb\xbf".as_slice(), &body].concat(),
            Edit::Half => body[..body.len() / 2].to_vec(),
            Edit::PadTo(bytes) => {
                body.resize(bytes.max(body.len()), b' ');
                body
            }
            Edit::NotUtf8 => {
                if let Some(blank) = body.iter_mut().find(|byte| **byte == b' ') {
                    *blank = 0xff;
                }
                body
            }
        }
    }
}

fn failed(error: &axum::http::Error) -> Response {
    let mut response = Response::new(Body::from(error.to_string()));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

fn dripping(body: Bytes, bytes: usize, pause: Duration) -> Body {
    Body::from_stream(stream::unfold(body, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let piece = rest.split_to(bytes.min(rest.len()));
        Some((Ok::<_, io::Error>(piece), rest))
    }))
}

fn breaking(body: &Bytes) -> Body {
    let half = body.slice(..body.len() / 2);
    Body::from_stream(stream::unfold(Some(half), |half| async move {
        if let Some(half) = half {
            return Some((Ok(half), None));
        }
        tokio::time::sleep(LEAVE).await;
        Some((Err(io::Error::from(io::ErrorKind::BrokenPipe)), None))
    }))
}

/// Holds responses back until it is opened, to order events without waiting for time to pass.
#[derive(Clone, Default)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate::default()
    }

    /// Releases waiting and future responses.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn opened(&self) {
        // The sender lives in `self`, so the wait cannot end before the gate is open.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}
