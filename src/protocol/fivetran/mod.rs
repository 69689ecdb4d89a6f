//! Fivetran's source service (Partner SDK v2) over gRPC, without TLS as its clients expect.
//!
//! A request contains the configuration, the selection and the state of the last sync; the response is one stream of
//! rows, checkpoints and warnings. `update` determines the order and limits of that stream, `values` the types. A slow
//! client slows down the reading of the source, and a client that disconnects ends it.
//!
//! Start at [`serve`], then `service`.

mod choice;
mod form;
mod generated {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    include!("generated.rs");
}
mod schema;
mod service;
mod update;
mod values;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::{Server, TcpIncoming};

use super::source::PipelineSource;
use generated::source_connector_server::SourceConnectorServer;
use service::Service;

/// A request contains the caller's state, which has a cursor for each child: gRPC's default of 4 MB is too small for a
/// large sync.
const MAX_REQUEST_BYTES: usize = 64 << 20;
/// Interval and timeout of keepalive pings. Without them, the stream of a dead client, and the reading of its source,
/// would continue until the system's own timeouts.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Time for open streams to end at shutdown.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until `stop`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    source: Arc<dyn PipelineSource>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = SourceConnectorServer::new(Service::new(source, stop.clone()))
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .accept_compressed(CompressionEncoding::Gzip);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEPALIVE));
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stop.cancelled());
    tokio::pin!(serving);
    // Streams are cancelled with `stop`; each ends once its current request is cancelled.
    tokio::select! {
        ended = &mut serving => ended,
        () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}
