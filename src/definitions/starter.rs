//! Generates the first version of a connector definition, for the author to complete.
//!
//! [`text`] writes a commented file that is a valid definition. With a [`Proposal`] made from one page of the
//! live API, it contains what that page proves; guesses are written as comments for the author to confirm.
//! Nothing here sends requests: see [`propose::propose`].

mod guess;
mod paging;
pub mod propose;

use std::str::FromStr;

use crate::domain::text::counted;
use guess::Guess;
use propose::Proposal;

/// The authentication method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// `Authorization: Bearer` with the key.
    Bearer,
    /// The key in a header of this name.
    Header(String),
    /// The key in a query parameter of this name.
    Query(String),
    Basic,
    None,
}

impl FromStr for Login {
    type Err = String;

    fn from_str(text: &str) -> Result<Login, String> {
        match text.split_once(':') {
            Some(("header", name)) if !name.is_empty() => Ok(Login::Header(name.to_owned())),
            Some(("query", name)) if !name.is_empty() => Ok(Login::Query(name.to_owned())),
            None if text == "bearer" => Ok(Login::Bearer),
            None if text == "basic" => Ok(Login::Basic),
            None if text == "none" => Ok(Login::None),
            _ => Err("it is one of bearer, header:NAME, query:NAME, basic, none".to_owned()),
        }
    }
}

/// Writes the first version of a definition.
pub fn text(name: &str, base_url: &str, login: &Login, proposal: Option<&Proposal>) -> String {
    let prefix = name.to_ascii_uppercase();
    let mut out = format!(
        "# {name}: a connector. docs/connectors.md explains every key.\n\
         #   data-sources-monitor connector check FILE        find every error in this file\n\
         #   data-sources-monitor connector explain {name}    show what it would request and store\n\
         format = 1\n\n\
         [connector]\n\
         name     = {}\n\
         base_url = {}    # {prefix}_BASE_URL wins\n\
         every    = \"15m\"    # {prefix}_EVERY wins\n\
         # check  = \"/me\"    # what `test {name}` requests; without it, the first table\n\n",
        quoted(name),
        quoted(&plain(base_url)),
    );
    out.push_str(&credentials(&prefix, login));
    out.push_str(
        "[http]\n\
         # What the service allows, shared by all tables:\n\
         # rate        = \"5/s\"\n\
         # concurrency = 4\n\
         # quota       = { remaining = \"x-ratelimit-remaining\", reset = \"x-ratelimit-reset\" }\n\
         retry = { tries = 6, base = \"1s\", cap = \"60s\", budget = \"15m\" }\n\n",
    );
    out.push_str(&proposal.map_or_else(unseen_table, table));
    out
}

fn credentials(prefix: &str, login: &Login) -> String {
    let key = format!(
        "[config]\napi_key = {{ type = \"secret\", description = \"API key\" }}    # {prefix}_API_KEY\n\n[auth]\n"
    );
    let others = "# Other kinds: header, query, basic, oauth2, none.\n\n";
    let name = |name: &str| quoted(name);
    match login {
        Login::Bearer => format!(
            "{key}kind  = \"header\"\nname  = \"Authorization\"\nvalue = \"Bearer ${{config.api_key}}\"\n{others}"
        ),
        Login::Header(header) => {
            format!(
                "{key}kind  = \"header\"\nname  = {}\nvalue = \"${{config.api_key}}\"\n{others}",
                name(header)
            )
        }
        Login::Query(param) => {
            format!(
                "{key}kind  = \"query\"\nname  = {}\nvalue = \"${{config.api_key}}\"\n{others}",
                name(param)
            )
        }
        Login::Basic => format!(
            "[config]\nuser    = {{ type = \"string\" }}    # {prefix}_USER\napi_key = {{ type = \"secret\", description = \
             \"Password or API key\" }}    # {prefix}_API_KEY\n\n[auth]\nkind     = \"basic\"\nuser     = \
             \"${{config.user}}\"\npassword = \"${{config.api_key}}\"\n{others}"
        ),
        Login::None => format!("[auth]\nkind = \"none\"\n{others}"),
    }
}

/// A placeholder table, for an API without a sample.
fn unseen_table() -> String {
    "# One table for each collection of the API. The names are examples: replace them, or start with\n\
     # `connector new … --sample /path`, which reads one page and proposes them.\n\
     [[table]]\n\
     name    = \"items\"\n\
     path    = \"/items\"\n\
     records = [\"data\"]    # where the rows are in an answer; \".\" is the root\n\
     key     = [\"id\"]\n\
     # page   = { kind = \"page\", at_param = \"page\", size_param = \"per_page\", size = 100 }\n\
     # page   = { kind = \"offset\", at_param = \"offset\", size_param = \"limit\", size = 100, total = \"meta.total\" }\n\
     # page   = { kind = \"cursor\", at_param = \"cursor\", next = \"meta.next_cursor\" }\n\
     # page   = { kind = \"link\", next = \"links.next\" }    # or header = \"link\"\n\
     # cursor = { field = \"updated_at\", param = \"updated_since\", order = \"asc\" }    # only new rows\n\
     # columns = { updated_at = { type = \"timestamp\" }, blob = \"drop\" }\n"
        .to_owned()
}

/// A table as a sample page showed it.
fn table(proposal: &Proposal) -> String {
    let mut out = format!(
        "# Proposed from one page ({}). Confirm each line; commented lines are guesses.\n\
         [[table]]\nname    = {}\npath    = {}\n",
        counted(proposal.seen as u64, "record"),
        quoted(&proposal.table),
        quoted(&plain(&proposal.path)),
    );
    if !proposal.params.is_empty() {
        let params: Vec<String> = proposal
            .params
            .iter()
            .map(|(name, value)| format!("{} = {}", key(name), quoted(&plain(value))))
            .collect();
        out.push_str(&format!("params  = {{ {} }}\n", params.join(", ")));
    }
    let records = &proposal.records;
    out.push_str(&format!("records = [{}]    # {}\n", quoted(&records.is), remark(&records.why)));
    match &proposal.key {
        Some(of) if of.sure => {
            out.push_str(&format!("key     = [{}]    # {}\n", quoted(&of.is), remark(&of.why)))
        }
        unsure => {
            if let Some(of) = unsure {
                out.push_str(&format!("# key   = [{}]    # {}\n", quoted(&of.is), remark(&of.why)));
            }
            out.push_str(
                "write   = \"replace\"    # without a key the table is replaced each time; with one, take this line out\n",
            );
        }
    }
    out.push_str(&page(proposal));
    out.push_str(&line("cursor ", proposal.cursor.as_ref()));
    out.push_str(&line("deleted_if", proposal.deleted_if.as_ref()));
    out.push_str(&columns(proposal));
    out
}

/// The paging rule. If the answer says that there are more rows, even a guess is written as an active line:
/// without it a sync would read only the first page.
fn page(proposal: &Proposal) -> String {
    match (&proposal.page, &proposal.more) {
        (Some(guess), Some(more)) if !guess.sure => {
            format!("page    = {}    # confirm: {}; {}\n", guess.is, remark(more), remark(&guess.why))
        }
        (Some(guess), _) => line("page   ", Some(guess)),
        (None, Some(more)) => {
            format!(
                "# page: there is more ({}), and nothing shows how to request it: add `page`\n",
                remark(more)
            )
        }
        (None, None) => "# page: the answer names no next page, so one request reads the table\n".to_owned(),
    }
}

/// A line of TOML, commented out if it is a guess.
fn line(name: &str, guess: Option<&Guess>) -> String {
    let Some(guess) = guess else { return String::new() };
    let mark = if guess.sure { "" } else { "# " };
    format!("{mark}{name} = {}    # {}\n", guess.is, remark(&guess.why))
}

fn columns(proposal: &Proposal) -> String {
    let mut out = "\n# Columns as the page shows them. Types follow the values and only ever widen; a rule fixes one.\n\
                   # A rule: \"drop\", or { name = \"other_name\", type = \"…\" }.\n[table.columns]\n"
        .to_owned();
    for column in &proposal.columns {
        let source = key(&column.source);
        match &column.rule {
            Some(rule) => out.push_str(&line(&source, Some(rule))),
            None => out.push_str(&format!("# {source}: {}\n", column.seen)),
        }
    }
    out
}

/// A comment on one line, whatever field names the API uses.
fn remark(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// A text as TOML on one line. TOML uses JSON's escapes, with one exception.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn key(name: &str) -> String {
    let bare = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare && !name.is_empty() { name.to_owned() } else { quoted(name) }
}

/// A text with its braces escaped for a template.
fn plain(text: &str) -> String {
    text.replace('{', "{{")
}

#[cfg(test)]
mod tests;
