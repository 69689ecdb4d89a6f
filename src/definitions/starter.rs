//! The text of a first definition, for an author to complete: what a new connector starts from.
//!
//! [`text`] writes a commented file that is a valid definition as it stands. With a [`Proposal`] made from a page of
//! the live API it says what that page shows; what the page only hints at stands there as a comment, for the author to
//! confirm. Nothing here asks the API: see [`propose::propose`].

mod paging;
pub mod propose;

use std::str::FromStr;

use propose::{Guess, Proposal};

/// How requests are to prove who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// `Authorization: Bearer` and the key.
    Bearer,
    /// The key in a header of this name.
    Header(String),
    /// The key in a query parameter of this name.
    Query(String),
    /// User name and password.
    Basic,
    /// Not at all.
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

/// Writes the first definition of a connector.
pub fn text(name: &str, base_url: &str, login: &Login, proposal: Option<&Proposal>) -> String {
    let prefix = name.to_ascii_uppercase();
    let mut out = format!(
        "# {name}: a connector. docs/connectors.md explains every key.\n\
         #   data-sources-monitor connector check FILE        find every mistake in this file\n\
         #   data-sources-monitor connector explain {name}    see what it would ask for and store\n\
         format = 1\n\n\
         [connector]\n\
         name     = {}\n\
         base_url = {}    # {prefix}_BASE_URL wins\n\
         every    = \"15m\"    # {prefix}_EVERY wins\n\
         # check  = \"/me\"    # what `test {name}` asks for; without it, the first table\n\n",
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

/// A table made up, for an API of which nothing was seen.
fn unseen_table() -> String {
    "# One of these for each list of the API. The names are examples: put in the API's own, or begin with\n\
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
     # cursor = { field = \"updated_at\", param = \"updated_since\", order = \"asc\" }    # only what is new\n\
     # columns = { updated_at = { type = \"timestamp\" }, blob = \"drop\" }\n"
        .to_owned()
}

/// A table as a page of it showed it.
fn table(proposal: &Proposal) -> String {
    let mut out = format!(
        "# Proposed from one page ({} records). Confirm each line; what stands as a comment was only hinted at.\n\
         [[table]]\nname    = {}\npath    = {}\n",
        proposal.seen,
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

/// How the next page is found. Where the answer says that there is more, a guess to be confirmed stands there for real:
/// without it a sync would read a part and nothing else.
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
        (None, None) => {
            "# page: nothing in the answer leads to a next page, so one request reads the table\n".to_owned()
        }
    }
}

/// A line of TOML, as a comment where it is not certain.
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

/// A comment that stays on its line, whatever the API calls its fields.
fn remark(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// A text as TOML, on one line: what JSON escapes TOML does too, but for one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A key as TOML.
fn key(name: &str) -> String {
    let bare = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare && !name.is_empty() { name.to_owned() } else { quoted(name) }
}

/// A text in which a brace is a brace.
fn plain(text: &str) -> String {
    text.replace('{', "{{")
}

#[cfg(test)]
mod tests;
