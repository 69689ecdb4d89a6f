//! Feeds, and plain web servers.
//!
//! Quirks of feeds: `atom`, `oldest_first`, `stale` (an old build time), `old_entries`, `no_dates`.

use std::fmt::Write as _;

use super::{Document, Level, Model};

struct Entry {
    guid: String,
    title: String,
    text: String,
    at: Option<jiff::Timestamp>,
    category: String,
}

pub(super) fn feed(model: &Model, path: &str) -> Option<Document> {
    if path != "/feed" {
        return None;
    }
    let mut entries: Vec<Entry> = Vec::new();
    for one in &model.incidents {
        let category = model.named(&one.touches).next().map(|one| one.name.clone()).unwrap_or_default();
        let began = if model.has("old_entries") { model.ago(60 * 30) } else { one.began };
        let entry = |text: &str, at: jiff::Timestamp| Entry {
            guid: format!("g{}", one.id),
            title: one.title.clone(),
            text: text.into(),
            at: (!model.has("no_dates")).then_some(at),
            category: category.clone(),
        };
        if !one.is_open {
            entries.push(entry("<p><strong>Resolved</strong> - It works again.</p>", model.ago(2)));
        }
        entries.push(entry("<p>We are looking into it &amp; more.</p>", began));
    }
    for one in &model.works {
        let text = format!("From {} to {}", one.begins, one.ends);
        let at = Some(model.ago(3));
        entries.push(Entry {
            guid: format!("m{}", one.id),
            title: format!("Scheduled: {}", one.title),
            text,
            at,
            category: String::new(),
        });
    }
    if model.has("oldest_first") {
        entries.reverse();
    }
    let built = if model.has("stale") { model.ago(300) } else { model.now() };
    let mut body = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a text cannot fail.
    let _ =
        if model.has("atom") { atom(&mut body, &entries, built) } else { rss(&mut body, &entries, built) };
    Some(Document { kind: "application/rss+xml; charset=utf-8", body: body.into_bytes() })
}

fn rss(body: &mut String, entries: &[Entry], built: jiff::Timestamp) -> std::fmt::Result {
    let mail = |at: jiff::Timestamp| at.strftime("%a, %d %b %Y %H:%M:%S UT").to_string();
    write!(
        body,
        "<rss version=\"2.0\" xmlns:dc=\"http://purl.org/dc/elements/1.1/\"><channel><title>Examplify</title>"
    )?;
    write!(body, "<lastBuildDate>{}</lastBuildDate>", mail(built))?;
    for one in entries {
        write!(body, "<item><guid isPermaLink=\"false\">{}</guid><title>{}</title>", one.guid, one.title)?;
        write!(body, "<link>https://example.com/{}</link><category>{}</category>", one.guid, one.category)?;
        write!(body, "<description><![CDATA[{}]]></description>", one.text)?;
        if let Some(at) = one.at {
            write!(body, "<pubDate>{}</pubDate>", mail(at))?;
        }
        write!(body, "</item>")?;
    }
    write!(body, "</channel></rss>")
}

fn atom(body: &mut String, entries: &[Entry], built: jiff::Timestamp) -> std::fmt::Result {
    write!(
        body,
        "<feed xmlns=\"http://www.w3.org/2005/Atom\"><title>Examplify</title><updated>{built}</updated>"
    )?;
    for one in entries {
        let text = one.text.replace('&', "&amp;").replace('<', "&lt;");
        write!(body, "<entry><id>{}</id><title type=\"text\">{}</title>", one.guid, one.title)?;
        write!(
            body,
            "<link href=\"https://example.com/{}\"/><category term=\"{}\"/>",
            one.guid, one.category
        )?;
        write!(body, "<content type=\"html\">{text}</content>")?;
        if let Some(at) = one.at {
            write!(body, "<published>{at}</published><updated>{at}</updated>")?;
        }
        write!(body, "</entry>")?;
    }
    write!(body, "</feed>")
}

/// A server that answers with a text while it is healthy, and not at all otherwise.
pub(super) fn http(model: &Model, path: &str) -> Option<Document> {
    let fine = model.overall() == Level::Fine;
    (path == "/health" && fine).then(|| Document { kind: "text/plain", body: b"all is well".to_vec() })
}
