//! Submits one finished team, as a controller's reconciler would: one call, and when to call again.
//!
//! controller NAMESPACE TEAM

mod constants;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use delivery::apis::configuration::Configuration;
use delivery::apis::{Error, deliveries_api};
use delivery::models::{CompletionEvent, ProblemDetails};
use http::{Extensions, HeaderMap};
use reqwest_middleware::{ClientBuilder, Middleware, Next};

use constants::problems;

/// Keeps the headers of one call's answer, which the generated client does not expose.
#[derive(Clone, Default)]
struct Headers(Arc<Mutex<HeaderMap>>);

#[async_trait]
impl Middleware for Headers {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        let answer = next.run(request, extensions).await?;
        *self.0.lock().expect("no holder panics") = answer.headers().clone();
        Ok(answer)
    }
}

/// Submits teams. Its results correspond to kube's `Action` and error.
struct Reconciler {
    http: reqwest::Client,
    url: String,
    token_file: PathBuf, // of a projected volume
}

impl Reconciler {
    /// Returns after how long to call again, or `None` if nothing is left to do. An error means that a retry does not
    /// help and somebody has to change something. Calls are idempotent: settled targets are not sent again.
    async fn reconcile(&self, namespace: &str, team: &str) -> Result<Option<Duration>, String> {
        let token =
            std::fs::read_to_string(&self.token_file) // each time, because the kubelet renews it
                .map_err(|error| format!("{}: {error}", self.token_file.display()))?;
        let headers = Headers::default();
        let configuration = Configuration {
            base_path: self.url.clone(),
            bearer_access_token: Some(token.trim().to_owned()),
            client: ClientBuilder::new(self.http.clone())
                .with(headers.clone())
                .build(),
            ..Configuration::default()
        };
        let event = CompletionEvent::new(namespace.to_owned(), team.to_owned());
        let answer = match deliveries_api::deliver(&configuration, event, None).await {
            Ok(report) => {
                for target in report.targets {
                    // Text: a later service may return a reason that this program does not know.
                    println!(
                        "{} {:?} {}",
                        target.name,
                        target.phase,
                        target.reason.unwrap_or_default()
                    );
                }
                return Ok(None); // also if pending: the service continues by itself, and the team's status changes
            }
            Err(Error::ResponseError(answer)) => answer,
            Err(Error::Serde(_)) => {
                return Err("answered, and not as agentteam-delivery does".to_owned());
            }
            // No answer: the event may have arrived, and a retry sends nothing twice.
            Err(_) => return Ok(Some(Duration::from_secs(5))),
        };
        // The typed error reads every problem as one of status 400, so parse the text.
        let Ok(problem) = serde_json::from_str::<ProblemDetails>(&answer.content) else {
            return Err(format!(
                "answered {}, and not as agentteam-delivery does",
                answer.status.as_u16()
            ));
        };
        let said = format!("{} {}", problem.r#type, problem.detail);
        match problem.r#type.as_str() {
            // The next change of the resource, if any, calls this again.
            problems::TEAM_NOT_FINISHED | problems::UID_CHANGED | problems::TEAM_NOT_FOUND => {
                Ok(None)
            }
            // A token that has just been renewed, a slow network, a send in progress.
            problems::UNAUTHENTICATED | problems::REQUEST_TIMEOUT | problems::CLAIM_IN_FLIGHT => {
                println!("{said}");
                Ok(Some(Duration::from_secs(30)))
            }
            _ => match headers
                .0
                .lock()
                .expect("no holder panics")
                .get("retry-after")
            {
                Some(wait) => {
                    println!("{said}");
                    let seconds = wait
                        .to_str()
                        .ok()
                        .and_then(|text| text.parse().ok())
                        .unwrap_or(5);
                    Ok(Some(Duration::from_secs(seconds)))
                }
                None => Err(said),
            },
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let [_, namespace, team] = &std::env::args().collect::<Vec<_>>()[..] else {
        eprintln!("give a namespace and a team");
        return ExitCode::from(2);
    };
    let set = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("set {name}"));
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none()) // a redirect would lose the event
        .timeout(Duration::from_secs(90))
        .build()
        .expect("a client with these options can be made");
    let reconciler = Reconciler {
        http,
        url: set("DELIVERY_URL"),
        token_file: set("DELIVERY_TOKEN_FILE").into(),
    };
    match reconciler.reconcile(namespace, team).await {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(wait)) => {
            println!("again in {} s", wait.as_secs());
            ExitCode::FAILURE
        }
        Err(said) => {
            eprintln!("{said}");
            ExitCode::FAILURE
        }
    }
}
