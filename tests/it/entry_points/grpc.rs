//! A gRPC client of HTTP/2 frames without any of the server's code: it sees bytes, and decides when to read them.

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// A connection.
pub(crate) struct Client {
    send: SendRequest<Bytes>,
    frozen: CancellationToken,
}

/// A response while it arrives.
pub(crate) struct Call {
    headers: http::HeaderMap,
    body: RecvStream,
    buffer: Vec<u8>,
}

/// How a call ended: gRPC's number (0 is fine) and message.
pub(crate) type Status = (i32, String);

impl Client {
    pub(crate) async fn connect(address: std::net::SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.unwrap();
        // As every gRPC library does: otherwise its small window updates would wait for the server's next bytes.
        stream.set_nodelay(true).unwrap();
        let (send, mut connection) = h2::client::handshake(stream).await.unwrap();
        let frozen = CancellationToken::new();
        let freezing = frozen.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = &mut connection => {}
                () = freezing.cancelled() => std::future::pending().await,
            }
        });
        Client { send, frozen }
    }

    /// Neither reads nor answers from now on, and keeps the connection open.
    pub(crate) fn freeze(&self) {
        self.frozen.cancel();
    }

    pub(crate) async fn call(&self, method: &str, message: &[u8]) -> Call {
        let mut send = self.send.clone().ready().await.unwrap();
        let request = Request::post(format!("http://localhost/fivetran_sdk.v2.SourceConnector/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let (response, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
        let mut framed = vec![0];
        framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend(message);
        body.send_data(framed.into(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        Call { headers: response.headers().clone(), body: response.into_body(), buffer: Vec::new() }
    }

    /// Every message, and how it ended.
    pub(crate) async fn all(&self, method: &str, message: &[u8]) -> (Vec<Vec<u8>>, Status) {
        let mut call = self.call(method, message).await;
        let mut messages = Vec::new();
        while let Some(message) = call.next().await {
            messages.push(message);
        }
        (messages, call.status().await)
    }

    /// The one message of a successful call.
    pub(crate) async fn one(&self, method: &str, message: &[u8]) -> Vec<u8> {
        let (mut messages, status) = self.all(method, message).await;
        assert_eq!((messages.len(), status.0), (1, 0), "{status:?}");
        messages.remove(0)
    }
}

impl Call {
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(length) = self.buffer.get(1..5) {
                let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
                if self.buffer.len() >= 5 + length {
                    let message = self.buffer[5..5 + length].to_vec();
                    self.buffer.drain(..5 + length);
                    return Some(message);
                }
            }
            let data = self.body.data().await?.unwrap();
            self.body.flow_control().release_capacity(data.len()).unwrap();
            self.buffer.extend(data);
        }
    }

    pub(crate) async fn status(mut self) -> Status {
        let trailers = self.body.trailers().await.unwrap();
        let headers = trailers.as_ref().unwrap_or(&self.headers);
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let message = text("grpc-message").unwrap_or_default();
        let message =
            message.replace("%20", " ").replace("%22", "\"").replace("%3A", ":").replace("%60", "`");
        (text("grpc-status").expect("a status").parse().unwrap(), message)
    }

    /// Disconnects before the end.
    pub(crate) fn cancel(self) {
        drop(self.body);
    }
}
