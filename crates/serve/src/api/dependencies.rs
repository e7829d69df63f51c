//! The packages of the interpreter's environment: `GET /v1/sandbox/dependencies`, `POST …/update`, `GET …/refresh`.

use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::response::Response;
use callgate_exec::Status;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::body;
use super::run::{admitted, not_run};
use crate::answer::{Refusal, success};
use crate::app::App;
use crate::job::{Job, Language};
use crate::runner::Client;

/// A package that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dependency {
    name: String,
    version: String,
}

#[derive(Debug, Serialize)]
struct Listed {
    dependencies: Vec<Dependency>,
}

/// Says what is installed. It runs in the sandbox as any code does.
const LISTING: &str = "\
import importlib.metadata as metadata, json
found = {}
for package in metadata.distributions():
    name = package.metadata['Name']
    if name:
        found.setdefault(name, package.version)
print(json.dumps([{'name': name, 'version': version} for name, version in sorted(found.items())]))
";

#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    language: Option<String>,
}

fn in_query(query: Option<&str>) -> Result<Asked, Refusal> {
    serde_urlencoded::from_str(query.unwrap_or_default())
        .map_err(|error| Refusal::bad_request(error.to_string()))
}

/// Python is the only language whose packages are listed, as with dify-sandbox.
fn python(asked: Asked) -> Result<(), Refusal> {
    match asked.language.as_deref() {
        None | Some("") => Err(Refusal::bad_request("language is missing or empty")),
        Some(name) if Language::of(name) == Some(Language::Python3) => Ok(()),
        Some(_) => Err(Refusal::unsupported_language()),
    }
}

/// What is there, as it was last looked at.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    python(in_query(query.as_deref())?)?;
    let known = app.dependencies.lock().await.clone();
    let dependencies = match known {
        Some(known) => known,
        None => look(&app).await?,
    };
    Ok(success(Listed { dependencies }))
}

/// Looks again and says what is there.
pub(crate) async fn refresh(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    python(in_query(query.as_deref())?)?;
    renew(&app).await?;
    let dependencies = look(&app).await?;
    Ok(success(Listed { dependencies }))
}

/// Looks again at the interpreter and its packages; later runs see what has changed. Installs nothing.
pub(crate) async fn update(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let asked = match request.uri().query() {
        Some(query) => in_query(Some(query))?,
        None => body::parsed(request, &app).await?,
    };
    python(asked)?;
    renew(&app).await?;
    look(&app).await?;
    Ok(success(serde_json::json!({})))
}

async fn renew(app: &Arc<App>) -> Result<(), Refusal> {
    let engine = Arc::clone(&app.runner.engine);
    let renewed = tokio::task::spawn_blocking(move || engine.renew()).await;
    match renewed {
        Ok(Ok(())) => {
            info!("looked at the interpreter again");
            Ok(())
        }
        Ok(Err(error)) => Err(Refusal::told(-500, error.to_string())),
        Err(error) => Err(Refusal::told(-500, error.to_string())),
    }
}

async fn look(app: &Arc<App>) -> Result<Vec<Dependency>, Refusal> {
    let ticket = admitted(app)?;
    let job = Job::of_the_server(LISTING);
    let client = Client {
        peer: "the server itself".to_owned(),
        ..Client::default()
    };
    let done = app.runner.run(ticket, job, client, None).await.map_err(not_run)?;
    let said = done.outcome.stdout.unwrap_or_default();
    let found: Option<Vec<Dependency>> = match (done.outcome.status, done.outcome.exit_code) {
        (Status::Exited, 0) => serde_json::from_str(&said).ok(),
        _ => None,
    };
    let found = found.ok_or_else(|| {
        let why = done.outcome.stderr.unwrap_or_default();
        Refusal::told(
            -500,
            format!("the packages can't be listed: {} {why}", done.outcome.status),
        )
    })?;
    *app.dependencies.lock().await = Some(found.clone());
    Ok(found)
}
