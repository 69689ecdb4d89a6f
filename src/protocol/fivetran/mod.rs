//! Fivetran's source service (Partner SDK v2) over gRPC, in plain text as its clients expect it.
//!
//! A call brings its configuration, its selection and the state of the last sync; rows, checkpoints and what a person
//! should know go back as one stream. Order and bounds of that stream are `update`'s business, types `values`'s.
//! A client that reads slowly slows the reading of the source down, and one that goes away ends it.
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

use super::source::Source;
use generated::source_connector_server::SourceConnectorServer;
use service::Service;

/// A request holds the caller's state, which has a cursor for each child; gRPC's own 4 MB would end a large sync.
const MAX_REQUEST_BYTES: usize = 64 << 20;
/// How often a client is asked whether it is still there, and how long it may take to answer. One that is gone without
/// a word would keep its stream, and the reading of the source, for as long as the system's own limits allow.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// What a stop waits for streams to end.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until `stop`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    source: Arc<dyn Source>,
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
    // Streams are cancelled with `stop`; each ends as soon as the request under way has been let go.
    tokio::select! {
        ended = &mut serving => ended,
        () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}
