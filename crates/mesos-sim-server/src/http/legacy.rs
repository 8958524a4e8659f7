//! The master's older endpoints.

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use peloton_mesos_sim::Refusal;
use serde_json::Value;

use super::{Answer, body, empty, json, parameter, refused, text, unavailable, views};
use crate::driver::{Handle, State};

/// Answers `GET` of a path, which comes without `/master`.
pub(super) async fn get(driver: &Handle, path: &str, query: Option<&str>) -> Answer {
    let view: fn(&State) -> Value = match path {
        "/state" => views::state,
        "/slaves" => views::slaves,
        "/frameworks" => views::frameworks,
        "/tasks" => views::tasks,
        "/roles" => views::roles,
        "/metrics/snapshot" => views::metrics,
        _ => return empty(StatusCode::NOT_FOUND),
    };
    let Some(mut value) = driver.with(move |state| view(state)).await else {
        return unavailable();
    };
    for (name, list) in
        [("slave_id", "slaves"), ("framework_id", "frameworks"), ("task_id", "tasks")]
    {
        let shown = value.get_mut(list).and_then(Value::as_array_mut);
        if let (Some(wanted), Some(shown)) = (parameter(query, name), shown) {
            shown.retain(|one| one["id"] == wanted.as_str());
        }
    }
    json(&value)
}

/// `POST /master/teardown` with `frameworkId=…`.
pub(super) async fn teardown(driver: &Handle, request: Request<Incoming>) -> Answer {
    let form = match body(request.into_body()).await {
        Ok(form) => form,
        Err(answer) => return answer,
    };
    let id = parameter(std::str::from_utf8(&form).ok(), "frameworkId");
    let Some(id) = id else {
        return text(StatusCode::BAD_REQUEST, "Missing 'frameworkId' query parameter");
    };
    let done = driver.with(move |state| state.mesos.teardown(&id)).await;
    acted(done, StatusCode::OK)
}

/// The answer to an action: this status, or Mesos's refusal.
pub(super) fn acted(done: Option<Result<(), Refusal>>, status: StatusCode) -> Answer {
    match done {
        Some(Ok(())) => empty(status),
        Some(Err(refusal)) => refused(refusal),
        None => unavailable(),
    }
}
