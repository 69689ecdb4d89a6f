//! Formats one event as one line, as text or as JSON.
//!
//! Texts come from third-party servers, so no event can start a second line or change the writing direction.
//! Long values are cut.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::filter::logger;
use crate::secrets::Redactor;

/// Characters logged of one value: enough for an error with its causes, too few to fill a disk with an HTML
/// error page.
const MAX_VALUE_CHARS: usize = 4000;

/// Fields that identify the subject of a line. Spans add them to every line within. Only JSON shows them: in
/// text, the message names its subject, except for one of several tenants.
const CONTEXT: [&str; 6] = ["monitor", "tenant", "channel", "connector", "run", "attempt"];

#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) at: Timestamp,
    pub(super) level: Level,
    pub(super) logger: &'a str,
    pub(super) message: String,
    /// JSON only.
    pub(super) context: Vec<(&'static str, Value)>,
    pub(super) fields: Vec<(&'static str, Value)>,
}

#[derive(Debug, Clone)]
pub(super) enum Style {
    /// Local time, logger, level, message, fields.
    Text {
        zone: TimeZone,
        colour: bool,
    },
    /// For systemd's journal, which strips the priority and adds its own time.
    Journal {
        /// Whether the rest is a JSON object instead of logger, level, message and fields.
        json: bool,
    },
    Json,
    /// One object with Fivetran's three members.
    Fivetran,
}

impl Style {
    /// The whole line with its newline.
    pub(super) fn render(&self, line: &Line<'_>) -> String {
        match self {
            Self::Text { zone, colour } => {
                let time = line.at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S");
                format!("{time} - {}", text(line, *colour))
            }
            Self::Journal { json: as_json } => {
                let rest = if *as_json { json(line) } else { text(line, false) };
                format!("<{}>{rest}", priority(line.level))
            }
            Self::Json => json(line),
            Self::Fivetran => fivetran(line),
        }
    }
}

/// Fields are appended to the message, because Fivetran shows only the message.
fn fivetran(line: &Line<'_>) -> String {
    let level = match line.level {
        Level::ERROR => "SEVERE",
        Level::WARN => "WARNING",
        _ => "INFO",
    };
    let mut message = String::new();
    push_visible(&mut message, &line.message);
    push_fields(&mut message, &line.fields);
    format!(
        "{}\n",
        serde_json::json!({ "level": level, "message": message, "message-origin": "sdk_connector" })
    )
}

/// Everything but the time.
fn text(line: &Line<'_>, colour: bool) -> String {
    let (name, code) = level(line.level);
    let mut out = format!("{} - ", line.logger);
    match code {
        Some(code) if colour => out.extend(["\u{1b}[", code, "m", name, "\u{1b}[0m"]),
        _ => out.push_str(name),
    }
    out.push_str(" - ");
    push_visible(&mut out, &line.message);
    push_fields(&mut out, &line.fields);
    out.extend(tenant_name(&line.context).into_iter().flat_map(|name| [" tenant=", name]));
    out.push('\n');
    out
}

/// The tenant, if it is one of several: the only one is known by its address.
fn tenant_name<'c>(context: &'c [(&'static str, Value)]) -> Option<&'c str> {
    let (_, value) = context.iter().find(|(key, _)| *key == "tenant")?;
    value.as_str().filter(|name| !name.contains(['/', ':']))
}

fn push_fields(out: &mut String, fields: &[(&'static str, Value)]) {
    for (key, value) in fields {
        out.extend([" ", key, "="]);
        match value {
            Value::String(value) => push_value(out, value),
            other => out.push_str(&other.to_string()),
        }
    }
}

fn level(level: Level) -> (&'static str, Option<&'static str>) {
    match level {
        Level::ERROR => ("ERROR", Some("31")),
        Level::WARN => ("WARNING", Some("33")),
        Level::INFO => ("INFO", None),
        Level::DEBUG | Level::TRACE => ("DEBUG", Some("2")),
    }
}

/// Syslog priorities.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// A field's text, in quotes if its end would be ambiguous otherwise.
fn push_value(out: &mut String, value: &str) {
    let quoted_already = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
    let plain = !value.is_empty() && !value.contains([' ', '=', '"']);
    if plain || quoted_already {
        push_visible(out, value);
    } else {
        out.push('"');
        push_visible(out, &value.replace('"', "\\\""));
        out.push('"');
    }
}

/// Escapes control characters and characters that break lines or change the writing direction.
fn push_visible(out: &mut String, text: &str) {
    for c in text.chars() {
        if needs_escape(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
}

fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}')
}

fn json(line: &Line<'_>) -> String {
    let own = [
        ("timestamp", format!("{:.3}", line.at).into()),
        ("level", level(line.level).0.into()),
        ("logger", line.logger.into()),
        ("message", line.message.as_str().into()),
    ];
    let mut out = String::from("{");
    for (key, value) in &own {
        push_member(&mut out, key, value);
    }
    for (key, value) in line.context.iter().chain(&line.fields) {
        if own.iter().any(|(taken, _)| taken == key) {
            push_member(&mut out, &format!("{key}_"), value);
        } else {
            push_member(&mut out, key, value);
        }
    }
    out.push_str("}\n");
    out
}

fn push_member(out: &mut String, key: &str, value: &Value) {
    let comma = if out.ends_with('{') { "" } else { "," };
    out.extend([comma, &Value::from(key).to_string(), ":"]);
    for c in value.to_string().chars() {
        // These characters occur only inside a string, where the escape has the same meaning.
        if needs_escape(c) {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
}

#[derive(Debug)]
pub(super) struct Output {
    pub(super) style: Style,
    pub(super) writer: NonBlocking,
}

/// Formats events and passes the lines to the outputs.
#[derive(Debug)]
pub(super) struct LineLayer {
    outputs: Vec<Output>,
    redactor: Redactor,
}

impl LineLayer {
    pub(super) fn new(outputs: Vec<Output>, redactor: Redactor) -> Self {
        Self { outputs, redactor }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LineLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = EventFields::new(&self.redactor);
        attributes.record(&mut fields);
        span.extensions_mut().insert(SpanFields(fields.found));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = EventFields::new(&self.redactor);
        values.record(&mut fields);
        if let Some(SpanFields(known)) = span.extensions_mut().get_mut() {
            fields.found.into_iter().for_each(|field| set(known, field));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let (mut fields, mut of_spans) = (EventFields::new(&self.redactor), Vec::new());
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(SpanFields(known)) = span.extensions().get() {
                for field in known.iter().cloned() {
                    let to = if CONTEXT.contains(&field.0) { &mut of_spans } else { &mut fields.found };
                    set(to, field);
                }
            }
        }
        event.record(&mut fields);
        of_spans.retain(|(key, _)| !fields.found.iter().any(|(own, _)| own == key));
        let meta = event.metadata();
        #[expect(clippy::disallowed_methods, reason = "a log line has the time at which it is written")]
        let at = Timestamp::now();
        let line = Line {
            at,
            level: *meta.level(),
            logger: logger(meta.target()),
            message: fields.message,
            context: of_spans,
            fields: fields.found,
        };
        for Output { style, writer } in &self.outputs {
            // The queue counts what it discards.
            let _ = writer.clone().write_all(style.render(&line).as_bytes());
        }
    }
}

/// The fields that a span adds to every event within it.
struct SpanFields(Vec<(&'static str, Value)>);

/// A later value of the same name, from an inner span or the event, replaces the earlier one.
fn set(fields: &mut Vec<(&'static str, Value)>, (key, value): (&'static str, Value)) {
    match fields.iter_mut().find(|(known, _)| *known == key) {
        Some(known) => known.1 = value,
        None => fields.push((key, value)),
    }
}

/// Collects the fields of an event or a span, limited in length and redacted.
struct EventFields<'a> {
    redactor: &'a Redactor,
    message: String,
    found: Vec<(&'static str, Value)>,
}

impl<'a> EventFields<'a> {
    fn new(redactor: &'a Redactor) -> Self {
        Self { redactor, message: String::new(), found: Vec::new() }
    }

    fn add_text(&mut self, field: &Field, value: &str) {
        let clean = self.redactor.clean(value);
        let text = match clean.char_indices().nth(MAX_VALUE_CHARS) {
            Some((end, _)) => format!("{}… ({} bytes more)", &clean[..end], clean.len() - end),
            None => clean.into_owned(),
        };
        if field.name() == "message" {
            self.message = text;
        } else {
            set(&mut self.found, (field.name(), text.into()));
        }
    }

    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        set(&mut self.found, (field.name(), value.into()));
    }
}

impl Visit for EventFields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.add_text(field, &text);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON cannot represent infinity.
        if value.is_finite() { self.add(field, value) } else { self.add_text(field, &value.to_string()) }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str, fields: Vec<(&'static str, Value)>) -> Line<'static> {
        let at = "2025-12-18T12:05:03.0407Z".parse().unwrap();
        Line {
            at,
            level: Level::INFO,
            logger: "MainOrchestrator",
            message: message.to_owned(),
            context: Vec::new(),
            fields,
        }
    }

    fn utc() -> Style {
        Style::Text { zone: TimeZone::UTC, colour: false }
    }

    /// The text is exactly the predecessor's format, so existing scripts keep working.
    #[test]
    fn the_text_format_is_the_predecessor_s() {
        let start = line("Starting Qlik Cloud Data Sources Monitor...", vec![]);
        insta::assert_snapshot!(utc().render(&start), @"2025-12-18 12:05:03 - MainOrchestrator - INFO - Starting Qlik Cloud Data Sources Monitor...");
        let berlin = Style::Text { zone: TimeZone::fixed(jiff::tz::offset(1)), colour: false };
        insta::assert_snapshot!(berlin.render(&start), @"2025-12-18 13:05:03 - MainOrchestrator - INFO - Starting Qlik Cloud Data Sources Monitor...");
    }

    #[test]
    fn levels_have_their_known_names() {
        let rendered = |colour| {
            let style = Style::Text { zone: TimeZone::UTC, colour };
            [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE].map(|level| {
                style.render(&Line { level, ..line("x", vec![]) }).split(" - ").nth(2).unwrap().to_owned()
            })
        };
        assert_eq!(rendered(false), ["ERROR", "WARNING", "INFO", "DEBUG", "DEBUG"]);
        assert_eq!(
            rendered(true),
            [
                "\u{1b}[31mERROR\u{1b}[0m",
                "\u{1b}[33mWARNING\u{1b}[0m",
                "INFO",
                "\u{1b}[2mDEBUG\u{1b}[0m",
                "\u{1b}[2mDEBUG\u{1b}[0m"
            ]
        );
    }

    /// Values are quoted only where necessary. JSON keeps their types and includes the context.
    #[test]
    fn fields_follow_the_message() {
        let fields = vec![
            ("id", "b-1".into()),
            ("title", "two words".into()),
            ("said", "say \"x\"".into()),
            ("empty", "".into()),
            ("debug", "\"already quoted\"".into()),
            ("tries", 3.into()),
            ("enabled", true.into()),
            ("level", "shadow".into()),
        ];
        let mut line = line("Banner updated successfully.", fields);
        line.context = vec![("attempt", 1.into())];
        insta::assert_snapshot!(utc().render(&line), @r#"2025-12-18 12:05:03 - MainOrchestrator - INFO - Banner updated successfully. id=b-1 title="two words" said="say \"x\"" empty="" debug="already quoted" tries=3 enabled=true level=shadow"#);
        insta::assert_snapshot!(Style::Json.render(&line), @r#"{"timestamp":"2025-12-18T12:05:03.040Z","level":"INFO","logger":"MainOrchestrator","message":"Banner updated successfully.","attempt":1,"id":"b-1","title":"two words","said":"say \"x\"","empty":"","debug":"\"already quoted\"","tries":3,"enabled":true,"level_":"shadow"}"#);
    }

    #[test]
    fn fivetran_lines_have_three_levels_and_three_members() {
        let fields = || vec![("rows", 3.into())];
        let render = |level| Style::Fivetran.render(&Line { level, ..line("update \"ended\"\n", fields()) });
        let lines = [Level::ERROR, Level::WARN, Level::INFO, Level::TRACE].map(render).concat();
        insta::assert_snapshot!(lines, @r#"
        {"level":"SEVERE","message":"update \"ended\"\\n rows=3","message-origin":"sdk_connector"}
        {"level":"WARNING","message":"update \"ended\"\\n rows=3","message-origin":"sdk_connector"}
        {"level":"INFO","message":"update \"ended\"\\n rows=3","message-origin":"sdk_connector"}
        {"level":"INFO","message":"update \"ended\"\\n rows=3","message-origin":"sdk_connector"}
        "#);
    }

    /// Text from upstream stays on one line from left to right, and JSON returns it unchanged.
    #[test]
    fn hostile_text_stays_one_line() {
        let hostile = "down\n2025-12-18 12:05:04 - QlikClient - INFO - forged\r\u{1b}[2J\u{0}\u{85}\u{2028}\u{202e}evil\u{2066}\u{feff} \\n é 👩‍💻";
        let line = line(hostile, vec![("text", hostile.into())]);
        let text = utc().render(&line);
        insta::assert_snapshot!(text, @r#"2025-12-18 12:05:03 - MainOrchestrator - INFO - down\n2025-12-18 12:05:04 - QlikClient - INFO - forged\r\u{1b}[2J\u{0}\u{85}\u{2028}\u{202e}evil\u{2066}\u{feff} \n é 👩‍💻 text="down\n2025-12-18 12:05:04 - QlikClient - INFO - forged\r\u{1b}[2J\u{0}\u{85}\u{2028}\u{202e}evil\u{2066}\u{feff} \n é 👩‍💻""#);
        let json = Style::Json.render(&line);
        for rendered in [&text, &json] {
            let inner = rendered.strip_suffix('\n').unwrap();
            assert!(!inner.chars().any(needs_escape), "{inner:?}");
        }
        let back: Value = serde_json::from_str(&json).unwrap();
        assert_eq!([&back["message"], &back["text"]], [hostile, hostile]);
    }

    #[test]
    fn the_journal_gets_a_priority_and_no_time() {
        let mut line = line("Banner cleared.", Vec::new());
        line.level = Level::WARN;
        let text = Style::Journal { json: false }.render(&line);
        assert_eq!(text, "<4>MainOrchestrator - WARNING - Banner cleared.\n");
        let json = Style::Journal { json: true }.render(&line);
        assert!(json.starts_with("<4>{\"timestamp\":"), "{json}");
    }
}
