//! Takes steps with the generated Rust client, and prints what came of each; driver.py does the same.
//!
//! As a process, with steps as JSON on its input: driver URL

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use delivery::apis::configuration::Configuration;
use delivery::apis::{Error, deliveries_api};
use delivery::models::completion_event::Redeliver;
use delivery::models::{CompletionEvent, Previewed, ProblemDetails, Report};
use http::{Extensions, HeaderMap};
use reqwest_middleware::{ClientBuilder, Middleware, Next};
use serde_json::{Value, json};

/// Keeps the headers of the last answer, which the generated client gives nobody.
#[derive(Clone, Default)]
struct Headers(Arc<Mutex<HeaderMap>>);

impl Headers {
    fn get(&self, name: &str) -> Option<String> {
        let kept = self.0.lock().unwrap();
        kept.get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    }
}

#[async_trait]
impl Middleware for Headers {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        let answer = next.run(request, extensions).await?;
        *self.0.lock().unwrap() = answer.headers().clone();
        Ok(answer)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("give an address")?;
    let steps: Vec<Value> = serde_json::from_reader(std::io::stdin())?;
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(60))
        .build()?;
    let headers = Headers::default();
    let mut configuration = Configuration {
        base_path: url,
        client: ClientBuilder::new(http).with(headers.clone()).build(),
        ..Configuration::default()
    };
    let mut results = Vec::new();
    for step in steps {
        configuration.bearer_access_token = step["token"].as_str().map(str::to_owned);
        results.push(take(&configuration, &headers, &step).await);
    }
    println!("{}", Value::from(results));
    Ok(())
}

async fn take(configuration: &Configuration, headers: &Headers, step: &Value) -> Value {
    let text = |name: &str| step[name].as_str().map(str::to_owned);
    let (namespace, team) = (text("namespace").unwrap(), text("team").unwrap());
    if step["call"] == "read" {
        let answer = deliveries_api::read_delivery(configuration, &namespace, &team).await;
        return answer.map_or_else(
            |error| refused(error, headers),
            |report| reported(report, headers),
        );
    }
    let event = CompletionEvent {
        redeliver: text("redeliver").map(|word| match word.as_str() {
            "failed" => Redeliver::Failed,
            _ => Redeliver::All,
        }),
        ..CompletionEvent::new(namespace, team)
    };
    if step["call"] == "preview" {
        let answer = deliveries_api::preview(configuration, event).await;
        return answer.map_or_else(|error| refused(error, headers), previewed);
    }
    let answer = deliveries_api::deliver(configuration, event, step["prefer"].as_str()).await;
    answer.map_or_else(
        |error| refused(error, headers),
        |report| reported(report, headers),
    )
}

/// Say the same of an answer as the other drivers do.
fn reported(report: Report, headers: &Headers) -> Value {
    let lately = |time: chrono::DateTime<chrono::FixedOffset>| {
        (chrono::Utc::now() - time.to_utc()).abs() < chrono::TimeDelta::hours(1)
    };
    let targets: Vec<Value> = report
        .targets
        .into_iter()
        .map(|one| {
            json!({
                "name": one.name,
                "phase": one.phase,
                "reason": one.reason,
                "httpStatus": one.http_status,
                "changedLately": one.timestamp.is_some_and(lately),
            })
        })
        .collect();
    let mut answer = json!({"phase": report.phase, "targets": targets});
    if let Some(place) = headers.get("location") {
        answer["location"] = place.into();
    }
    answer
}

fn previewed(answer: Previewed) -> Value {
    let would = answer
        .targets
        .into_iter()
        .map(|one| (one.name, json!(one.would)));
    json!({"would": Value::Object(would.collect())})
}

fn refused<T>(error: Error<T>, headers: &Headers) -> Value {
    let Error::ResponseError(answer) = error else {
        return json!({"raised": error.to_string()});
    };
    // Its own type has a variant for each status, and takes every problem for the first of them.
    let Ok(problem) = serde_json::from_str::<ProblemDetails>(&answer.content) else {
        return json!({"raised": answer.status.as_u16()});
    };
    let mut told = json!({"problem": problem.r#type, "status": problem.status});
    if let Some(errors) = problem.errors {
        told["errors"] = errors.into();
    }
    if let Some(wait) = headers.get("retry-after") {
        told["retryAfter"] = wait.parse::<u64>().unwrap().into();
    }
    told
}
