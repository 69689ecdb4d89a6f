//! `monitor add`: writes a definition for a service of the catalogue or for an address.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use toml_edit::Key;
use url::Url;

use super::files::{self, quoted};
use crate::commands::setting_flags::SettingFlags;
use crate::commands::{CommandError, compose};
use crate::definitions::catalogue::{self, CatalogueService, Grade};
use crate::definitions::engine::{self, Engines, detection_order};
use crate::definitions::monitor::{page_root, read_one};
use crate::definitions::toml_files;
use crate::domain::monitoring::monitor::MonitorSource;
use crate::domain::monitoring::observation::{Reading, Unknown};
use crate::domain::text;
use crate::http::PageClient;
use crate::poll::{Detection, detect};
use crate::settings::Settings;

/// Components that are printed; `monitor explain --all` prints all of them.
const SHOWN: usize = 20;

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor monitor add snowflake
  data-sources-monitor monitor add bigquery --option region=europe-west1
  data-sources-monitor monitor add salesforce --option instance=EU45
  data-sources-monitor monitor add https://status.example.com --component 'API*'
  data-sources-monitor monitor search warehouse")]
pub struct AddArgs {
    /// Slug of a service in the catalogue, or the address of a status page
    #[arg(value_name = "SLUG|URL", add = slugs())]
    pub target: String,
    /// Name of the monitor; default: that of the service or the host
    #[arg(long)]
    pub name: Option<String>,
    /// Only components that match this pattern (* and ?); may be repeated
    #[arg(long = "component", value_name = "PATTERN")]
    pub components: Vec<String>,
    /// Tag of the monitor; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Option of the engine; may be repeated
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = option)]
    pub options: Vec<(String, String)>,
    /// Engine of the page, instead of detecting it
    #[arg(long)]
    pub engine: Option<String>,
    /// Print the definition instead of writing it
    #[arg(long)]
    pub dry_run: bool,
}

fn option(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("not NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn slugs() -> clap_complete::engine::ArgValueCandidates {
    clap_complete::engine::ArgValueCandidates::new(|| {
        catalogue::services().keys().map(clap_complete::engine::CompletionCandidate::new).collect()
    })
}

/// The definition to write.
struct Draft {
    /// Without `.toml`.
    file: String,
    name: String,
    comment: String,
    /// Lines after the name.
    lines: Vec<String>,
}

pub(super) async fn add(flags: &SettingFlags, args: AddArgs) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let engines = engine::load(&settings.engines_dir).map_err(CommandError::configuration)?;
    let client = compose::page_client(&settings)?;
    let draft = if args.target.contains("://") {
        of_address(&client, &settings, &engines, &args).await?
    } else {
        let service = catalogue::find(&args.target);
        of_service(
            service.ok_or_else(|| CommandError::configuration([catalogue::unknown(&args.target)]))?,
            &args,
        )
    };
    let file = settings.monitors_dir.join(format!("{}.toml", draft.file));
    let text = written(&draft, &args);
    let place = if args.dry_run { PathBuf::from(&args.target) } else { file.clone() };
    let (monitor, _) = read_one(&place.display().to_string(), &text, &engines)
        .map_err(|errors| explained(&errors, &args))?;
    if !args.dry_run {
        refuse_existing(&settings, &file, &draft.name)?;
    }
    let MonitorSource::Page(page) = &monitor.source else {
        return Err(anyhow!("the definition is not that of a status page").into());
    };
    let timeout = monitor.timeout.unwrap_or(settings.poll_timeout);
    let explanation = crate::poll::explain(&client, page, &monitor.remap, timeout).await;
    match explanation.outcome.as_ref().and_then(Reading::verdict) {
        Ok(reading) => say!("{}: {}: {}", draft.name, reading.severity, reading.description),
        Err(why) => say!("{}: cannot be read now: {why}", draft.name),
    }
    if let Some(Ok(components)) = explanation.components.filter(|_| args.components.is_empty()) {
        choose(&components);
    }
    if args.dry_run {
        say!("\n{}", text.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let first = toml_files(&settings.monitors_dir).map_or(true, |files| files.is_empty());
    std::fs::create_dir_all(&settings.monitors_dir)
        .with_context(|| format!("cannot create {}", settings.monitors_dir.display()))?;
    files::create(&file, &text)?;
    say!("Wrote {}.", file.display());
    if first {
        say!("The built-in monitors are no longer used; `monitor add github` adds one of them again.");
    }
    Ok(ExitCode::SUCCESS)
}

fn of_service(service: &CatalogueService, args: &AddArgs) -> Draft {
    let mut comment = format!("{}, from the catalogue.", service.name);
    if service.grade == Grade::B {
        comment.push_str(" Unconfirmed: check what `monitor explain` says.");
    }
    if !service.hint.is_empty() {
        comment.push_str(&format!("\n# {}", service.hint));
    }
    let mut lines = vec![format!("service = {}", quoted(&service.slug))];
    lines.extend(args.engine.iter().map(|engine| format!("engine = {}", quoted(engine))));
    Draft {
        // Several monitors may poll parts of one service.
        file: args.name.as_deref().map_or_else(|| service.slug.clone(), file_name),
        name: args.name.clone().unwrap_or_else(|| service.name.clone()),
        comment,
        lines,
    }
}

async fn of_address(
    client: &PageClient,
    settings: &Settings,
    engines: &Engines,
    args: &AddArgs,
) -> Result<Draft, CommandError> {
    let root = root(&args.target)?;
    let (engine, root) = match &args.engine {
        Some(name) => (name.clone(), root),
        None => {
            let found = detect(client, &root, &detection_order(engines), settings.poll_timeout * 3).await;
            let Detection { engine, root } = found.map_err(|tried| not_detected(&root, &tried))?;
            say!("{root} is read as {}.", engine.name);
            (engine.name.clone(), root)
        }
    };
    let host = root.host_str().unwrap_or_default().to_owned();
    let name = args.name.clone().unwrap_or_else(|| host.trim_start_matches("www.").to_owned());
    let lines = vec![format!("url = {}", quoted(root.as_str())), format!("engine = {}", quoted(&engine))];
    Ok(Draft { file: file_name(&name), name, comment: format!("The status page at {host}."), lines })
}

/// The root of a page from an address that a person typed.
pub(super) fn root(url: &str) -> Result<Url, CommandError> {
    page_root(url).map_err(|why| CommandError::configuration([format!("the address {why}")]))
}

/// The error for an address that no engine reads.
pub(super) fn not_detected(root: &Url, tried: &[(String, Unknown)]) -> CommandError {
    if let [(_, why)] = tried {
        return anyhow!("cannot reach {root}: {why}").into();
    }
    let mut reasons: Vec<String> = Vec::new();
    for (engine, why) in tried {
        reasons.push(format!("  {engine}: {why}"));
    }
    reasons.dedup();
    let reasons = reasons.join("\n");
    anyhow!(
        "no engine reads {root}; some need an option, see `engine list` and --engine NAME --option NAME=VALUE\n{reasons}"
    )
    .into()
}

fn file_name(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(letter).collect();
    let parts: Vec<&str> = name.split('-').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "monitor".to_owned() } else { parts.join("-") }
}

fn written(draft: &Draft, args: &AddArgs) -> String {
    let list = |texts: &[String]| texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
    let mut text = format!("# {}\nname = {}\n", draft.comment, quoted(&text::plain(&draft.name)));
    for line in &draft.lines {
        text.push_str(&format!("{line}\n"));
    }
    if !args.options.is_empty() {
        let options = args.options.iter();
        let options = options.map(|(name, value)| format!("{} = {}", Key::new(name), quoted(value)));
        text.push_str(&format!("options = {{ {} }}\n", options.collect::<Vec<_>>().join(", ")));
    }
    if !args.components.is_empty() {
        text.push_str(&format!("components = [{}]\n", list(&args.components)));
    }
    text.push_str("incidents = true\n");
    if !args.tags.is_empty() {
        text.push_str(&format!("tags = [{}]\n", list(&args.tags)));
    }
    text
}

/// Errors in the definition come from the arguments.
fn explained(errors: &[crate::definitions::DefinitionError], args: &AddArgs) -> CommandError {
    let message = |error: &crate::definitions::DefinitionError| {
        let hint =
            if error.message.contains("needs the option") { " (here: --option NAME=VALUE)" } else { "" };
        format!("{}: {}{hint}", args.target, error.message)
    };
    CommandError::configuration(errors.iter().map(message))
}

fn refuse_existing(settings: &Settings, file: &Path, name: &str) -> Result<(), CommandError> {
    if file.exists() {
        return Err(files::exists(file));
    }
    if files::of_monitor(settings, name).is_ok() {
        return Err(CommandError::configuration([format!(
            "a monitor is already named {name:?}; choose a --name"
        )]));
    }
    Ok(())
}

/// Lists components to choose from.
fn choose(components: &[String]) {
    if components.len() < 2 {
        return;
    }
    say!("It has {} components; --component PATTERN selects from them:", components.len());
    for component in components.iter().take(SHOWN) {
        say!("  {component}");
    }
    if components.len() > SHOWN {
        say!("  … and {} more (`monitor explain NAME --all` prints them)", components.len() - SHOWN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::engine::built_in;

    #[test]
    fn a_second_monitor_of_a_service_has_a_file_of_its_own() {
        let of = |name: Option<&str>| {
            let args = AddArgs {
                target: "bigquery".into(),
                name: name.map(str::to_owned),
                components: Vec::new(),
                tags: Vec::new(),
                options: Vec::new(),
                engine: None,
                dry_run: false,
            };
            of_service(catalogue::find("bigquery").unwrap(), &args).file
        };
        assert_eq!((of(None).as_str(), of(Some("BigQuery US")).as_str()), ("bigquery", "bigquery-us"));
    }

    #[test]
    fn any_name_and_pattern_is_written_as_toml() {
        let odd = "a \"b\" \\ 'c' \u{7f}\u{200b}\u{1b}[2J ä\u{301}*";
        let args = AddArgs {
            target: "https://a.test".into(),
            name: Some(odd.into()),
            components: vec![odd.into()],
            tags: Vec::new(),
            options: vec![("page id".into(), odd.into()), ("page_id".into(), odd.into())],
            engine: None,
            dry_run: false,
        };
        let lines = vec!["url = \"https://a.test/\"".into(), "engine = \"statusio\"".into()];
        let draft = Draft { file: "a".into(), name: odd.into(), comment: "A page.".into(), lines };
        let text = written(&draft, &args);
        let errors = read_one("a.toml", &text, built_in()).unwrap_err();
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(errors.len() == 1 && errors[0].contains("has no option `page id`"), "{errors:?}\n{text}");
    }
}
