//! The four calls of the service.
//!
//! An update has no task of its own: it runs while its stream is polled, that is while the client receives messages, and
//! ends when the stream is dropped, that is when the client disconnects.

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
use crate::domain::syncing::definition::config::ConfigValues;
use crate::domain::syncing::op::{End, Op};
use crate::domain::syncing::state_text::TextPart;
use crate::protocol::given;
use crate::protocol::saved::SavedState;
use crate::protocol::source::{PipelineSource, Selection, SourceEnd};

/// Ops between the connector and a stream: a few pages.
const OPS: usize = 4;
/// Queued messages for a client, of about 100 KiB each.
const MESSAGES: usize = 8;

/// One connector as a service.
pub(super) struct Service {
    source: Arc<dyn PipelineSource>,
    stop: CancellationToken,
}

type Message = Result<UpdateResponse, Status>;
type Messages = Pin<Box<dyn Stream<Item = Message> + Send>>;

/// A part of an update stream.
enum UpdatePart {
    Message(Message),
    /// The update is complete. A stream that ends without this reports an error.
    End,
}

impl Service {
    pub(super) fn new(source: Arc<dyn PipelineSource>, stop: CancellationToken) -> Service {
        Service { source, stop }
    }

    fn config(&self, given: BTreeMap<String, String>) -> Result<ConfigValues, String> {
        let given = given.into_iter().map(|(key, value)| (key, SecretString::from(value))).collect();
        given::resolve(self.source.definition(), &given, "configuration")
    }

    /// The parts of an update, from its request.
    fn prepare(&self, request: UpdateRequest) -> Result<(Feed, Selection), Refusal> {
        let definition = self.source.definition();
        let config = self.config(request.configuration).map_err(Refusal::Mend)?;
        let state = TextPart::from(request.state_json.unwrap_or_default());
        let saved = SavedState::read(&state, &definition.name)
            .map_err(|e| Refusal::Mend(format!("{e}. In Fivetran: re-sync the connection")))?;
        let choice = Choice::of(definition, &config, request.selection).map_err(Refusal::Wrong)?;
        let selection = Selection {
            config,
            tables: Some(choice.tables.clone()),
            state: saved.state(),
            shapes: saved.shapes(definition),
            since: None,
        };
        Ok((Feed::new(definition, choice, saved), selection))
    }
}

/// Why an update cannot start.
enum Refusal {
    /// A person must change something.
    Mend(String),
    /// The request is invalid.
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
                tracing::warn!("Test failed: {message}");
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
        let (feed, selection) = match self.prepare(request.into_inner()) {
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
        let work = async move { update.stream(source.as_ref(), selection, cancel).await };
        let running = Going { work: Some(Box::pin(work)), inbox, over: false };
        let stream = stream::unfold(running, async |mut running| {
            running.next().await.map(|message| (message, running))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// A running update and its messages.
struct Going {
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    inbox: mpsc::Receiver<UpdatePart>,
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
                Some(UpdatePart::Message(Ok(message))) => return Some(Ok(message)),
                Some(UpdatePart::Message(status)) => {
                    self.over = true;
                    return Some(status);
                }
                Some(UpdatePart::End) => self.over = true,
                None => {
                    self.over = true;
                    return Some(Err(Status::internal("the update ended unexpectedly; see the log")));
                }
            }
        }
        None
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        if !self.over {
            tracing::warn!("The client disconnected; the update ended");
        }
    }
}

/// Produces the messages of one stream.
struct Update {
    feed: Feed,
    messages: mpsc::Sender<UpdatePart>,
    out: Vec<UpdateResponse>,
}

impl Update {
    async fn stream(mut self, source: &dyn PipelineSource, selection: Selection, cancel: CancellationToken) {
        let tables = selection.tables.as_ref().map_or(0, Vec::len);
        tracing::info!(tables, "Update started");
        self.feed.start(&mut self.out);
        let end = if tables == 0 { nothing_selected() } else { self.read(source, selection, cancel).await };
        self.finish(&end).await;
        tracing::info!(rows = self.feed.sent, end = ?end.end, "Update ended");
    }

    async fn read(
        &mut self,
        source: &dyn PipelineSource,
        selection: Selection,
        cancel: CancellationToken,
    ) -> SourceEnd {
        let (ops, mut inbox) = mpsc::channel(OPS);
        let forward = async {
            let forwarded = self.forward(&mut inbox).await;
            if forwarded.is_err() {
                cancel.cancel();
            }
            // The connector may wait for space in the channel.
            inbox.close();
            while inbox.recv().await.is_some() {}
            forwarded
        };
        let (end, forwarded) = tokio::join!(source.run(selection, ops, cancel.clone()), forward);
        forwarded.map_or_else(|too_large| too_large.ended(), |()| end)
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

    async fn finish(&mut self, end: &SourceEnd) {
        for note in &end.notes {
            tracing::warn!("{note}");
        }
        let status = self.feed.end(end, &mut self.out);
        self.send().await;
        if end.end != End::Complete {
            tracing::error!("{}", end.reason());
        }
        let last = status.map_or_else(|status| UpdatePart::Message(Err(status)), |()| UpdatePart::End);
        self.send_part(last).await;
    }

    async fn send(&mut self) {
        for message in std::mem::take(&mut self.out) {
            self.send_part(UpdatePart::Message(Ok(message))).await;
        }
    }

    async fn send_part(&self, part: UpdatePart) {
        // The receiver also polls this future, so that it cannot be dropped while this runs.
        let _ = self.messages.send(part).await;
    }
}

fn nothing_selected() -> SourceEnd {
    let notes = vec!["no table is selected: nothing was read".to_owned()];
    SourceEnd { end: End::Complete, reason: None, mend: false, notes }
}
