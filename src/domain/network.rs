//! Errors of the network in words, the same for status pages, connectors and databases.

use std::io::ErrorKind;

/// Without the number and the text of the operating system. `None` for other errors.
pub fn reason(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset => "connection reset",
        ErrorKind::ConnectionAborted => "connection aborted",
        ErrorKind::HostUnreachable => "host unreachable",
        ErrorKind::NetworkUnreachable => "network unreachable",
        ErrorKind::BrokenPipe => "connection closed",
        _ => return None,
    })
}
