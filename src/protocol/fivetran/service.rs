//! The four calls.
//!
//! An update has no task of its own: it goes on while its stream is polled, which is while the client takes messages,
//! and ends where it is when the stream is dropped, which is when the client goes away.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::choice::{Choice, HasNoSchemas};
use super::form::{CONNECTION_TEST, form};
use super::generated::source_connector_server::SourceConnector;
use super::generated::{
    ConfigurationFormRequest, ConfigurationFormResponse, SchemaRequest, SchemaResponse, TestRequest,
    TestResponse, UpdateRequest, UpdateResponse, schema_response, test_response,
};
use super::schema;
use super::update::{Feed, MAX_RECORDS, StateTooLarge, task};
use crate::domain::config::ConfigValues;
use crate::domain::op::{End, Op};
use crate::domain::state_text::TextPart;
use crate::protocol::given;
use crate::protocol::saved::Saved;
use crate::protocol::source::{Ended, Source, Wanted};

/// Ops under way between the connector and a stream: a few pages.
const OPS: usize = 4;
/// Messages that wait for a client, of about 100 KiB each.
const MESSAGES: usize = 8;

/// One connector as a service.
pub(super) struct Service {
    source: Arc<dyn Source>,
    stop: CancellationToken,
}

type Message = Result<UpdateResponse, Status>;
type Messages = Pin<Box<dyn Stream<Item = Message> + Send>>;

/// What a reading hands to its stream.
enum Part {
    Message(Message),
    /// It came to its end. Without this, the stream must not look as if it had.
    End,
}

impl Service {
    pub(super) fn new(source: Arc<dyn Source>, stop: CancellationToken) -> Service {
        Service { source, stop }
    }

    fn config(&self, given: BTreeMap<String, String>) -> Result<ConfigValues, String> {
        let given = given.into_iter().map(|(key, value)| (key, SecretString::from(value))).collect();
        given::resolve(self.source.definition(), &given, "configuration")
    }

    /// What a stream is made of.
    fn prepare(&self, request: UpdateRequest) -> Result<(Feed, Wanted), Refusal> {
        let definition = self.source.definition();
        let config = self.config(request.configuration).map_err(Refusal::Mend)?;
        let state = TextPart::from(request.state_json.unwrap_or_default());
        let saved = Saved::read(&state, &definition.name)
            .map_err(|e| Refusal::Mend(format!("{e}. In Fivetran: re-sync the connection")))?;
        let choice = Choice::of(definition, &config, request.selection).map_err(Refusal::Wrong)?;
        let wanted = Wanted {
            config,
            tables: Some(choice.tables.clone()),
            state: saved.state(),
            shapes: saved.shapes(definition),
            since: None,
        };
        Ok((Feed::new(definition, choice, saved), wanted))
    }
}

/// Why there is nothing to stream.
enum Refusal {
    /// A person must mend something.
    Mend(String),
    /// The client asks for what it cannot ask for.
    Wrong(HasNoSchemas),
}

#[tonic::async_trait]
impl SourceConnector for Service {
    type UpdateStream = Messages;

    async fn configuration_form(
        &self,
        _: Request<ConfigurationFormRequest>,
    ) -> Result<Response<ConfigurationFormResponse>, Status> {
        Ok(Response::new(form(self.source.definition())))
    }

    async fn test(&self, request: Request<TestRequest>) -> Result<Response<TestResponse>, Status> {
        let TestRequest { name, configuration } = request.into_inner();
        let tested = match self.config(configuration) {
            _ if name != CONNECTION_TEST => {
                Err(format!("there is no test {name:?}; there is {CONNECTION_TEST:?}"))
            }
            Err(message) => Err(message),
            Ok(config) => self.source.test(config).await,
        };
        let response = match tested {
            Ok(()) => test_response::Response::Success(true),
            Err(message) => {
                tracing::warn!("the test failed: {message}");
                test_response::Response::Failure(message)
            }
        };
        Ok(Response::new(TestResponse { response: Some(response) }))
    }

    async fn schema(&self, request: Request<SchemaRequest>) -> Result<Response<SchemaResponse>, Status> {
        let config = self.config(request.into_inner().configuration).map_err(Status::invalid_argument)?;
        let tables = schema::tables(self.source.definition(), &config);
        let response = Some(schema_response::Response::WithoutSchema(tables));
        Ok(Response::new(SchemaResponse { response, selection_not_supported: None }))
    }

    async fn update(&self, request: Request<UpdateRequest>) -> Result<Response<Self::UpdateStream>, Status> {
        let (feed, wanted) = match self.prepare(request.into_inner()) {
            Ok(prepared) => prepared,
            Err(Refusal::Wrong(e)) => return Err(Status::invalid_argument(e.to_string())),
            Err(Refusal::Mend(message)) => {
                tracing::warn!("{message}");
                return Ok(Response::new(Box::pin(stream::iter([Ok(task(message))]))));
            }
        };
        let (messages, inbox) = mpsc::channel(MESSAGES);
        let update = Update { feed, messages, out: Vec::new() };
        let (source, cancel) = (Arc::clone(&self.source), self.stop.child_token());
        let work = async move { update.stream(source.as_ref(), wanted, cancel).await };
        let going = Going { work: Some(Box::pin(work)), inbox, over: false };
        let stream =
            stream::unfold(going, async |mut going| going.next().await.map(|message| (message, going)));
        Ok(Response::new(Box::pin(stream)))
    }
}

/// An update while its messages are asked for.
struct Going {
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    inbox: mpsc::Receiver<Part>,
    over: bool,
}

impl Going {
    async fn next(&mut self) -> Option<Message> {
        while !self.over {
            let part = tokio::select! {
                biased;
                part = self.inbox.recv() => part,
                () = async { if let Some(work) = &mut self.work { work.await } }, if self.work.is_some() => {
                    self.work = None;
                    continue;
                }
            };
            match part {
                Some(Part::Message(Ok(message))) => return Some(Ok(message)),
                Some(Part::Message(status)) => {
                    self.over = true;
                    return Some(status);
                }
                Some(Part::End) => self.over = true,
                None => {
                    self.over = true;
                    return Some(Err(Status::internal("reading broke off; see the log")));
                }
            }
        }
        None
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        if !self.over {
            tracing::warn!("the client went away, and reading has ended");
        }
    }
}

/// The making of one stream's messages.
struct Update {
    feed: Feed,
    messages: mpsc::Sender<Part>,
    out: Vec<UpdateResponse>,
}

impl Update {
    async fn stream(mut self, source: &dyn Source, wanted: Wanted, cancel: CancellationToken) {
        let tables = wanted.tables.as_ref().map_or(0, Vec::len);
        tracing::info!(tables, "update started");
        self.feed.start(&mut self.out);
        let ended = if tables == 0 { nothing_selected() } else { self.read(source, wanted, cancel).await };
        self.finish(&ended).await;
        tracing::info!(rows = self.feed.sent, end = ?ended.end, "update ended");
    }

    async fn read(&mut self, source: &dyn Source, wanted: Wanted, cancel: CancellationToken) -> Ended {
        let (ops, mut inbox) = mpsc::channel(OPS);
        let forward = async {
            let forwarded = self.forward(&mut inbox).await;
            if forwarded.is_err() {
                cancel.cancel();
            }
            // The connector may be waiting for room.
            inbox.close();
            while inbox.recv().await.is_some() {}
            forwarded
        };
        let (ended, forwarded) = tokio::join!(source.run(wanted, ops, cancel.clone()), forward);
        forwarded.map_or_else(|too_large| too_large.ended(), |()| ended)
    }

    async fn forward(&mut self, inbox: &mut mpsc::Receiver<Op>) -> Result<(), StateTooLarge> {
        self.send().await;
        while let Some(op) = inbox.recv().await {
            match op {
                Op::Rows(rows) => {
                    self.feed.begin(&rows, &mut self.out);
                    for part in rows.rows.chunks(MAX_RECORDS) {
                        self.feed.rows(&rows.shape, part, &mut self.out);
                        self.send().await;
                    }
                }
                op => {
                    self.feed.take(op, &mut self.out)?;
                    self.send().await;
                }
            }
        }
        Ok(())
    }

    async fn finish(&mut self, ended: &Ended) {
        for note in &ended.notes {
            tracing::warn!("{note}");
        }
        let status = self.feed.end(ended, &mut self.out);
        self.send().await;
        if ended.end != End::Complete {
            tracing::error!("{}", ended.reason());
        }
        let last = status.map_or_else(|status| Part::Message(Err(status)), |()| Part::End);
        self.send_part(last).await;
    }

    async fn send(&mut self) {
        for message in std::mem::take(&mut self.out) {
            self.send_part(Part::Message(Ok(message))).await;
        }
    }

    async fn send_part(&self, part: Part) {
        // Whoever receives also drives us: there is nobody to tell that it is gone.
        let _ = self.messages.send(part).await;
    }
}

fn nothing_selected() -> Ended {
    let notes = vec!["no table is selected: nothing was read".to_owned()];
    Ended { end: End::Complete, reason: None, mend: false, notes }
}
