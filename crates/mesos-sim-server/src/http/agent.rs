//! An agent's HTTP API: its files, and its state.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use peloton_mesos_sim::AgentIndex;

use super::{Answer, Handler, empty, files, json, method_not_allowed, text, unavailable, views};
use crate::driver::Handle;
use crate::task::WorkDir;

/// One agent.
pub(crate) struct AgentApi {
    driver: Handle,
    index: AgentIndex,
    work: WorkDir,
}

impl std::fmt::Debug for AgentApi {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AgentApi").field("index", &self.index).finish_non_exhaustive()
    }
}

impl AgentApi {
    pub(crate) fn new(driver: Handle, index: AgentIndex, work: WorkDir) -> Self {
        Self { driver, index, work }
    }

    async fn state(&self) -> Answer {
        let (index, work) = (self.index, self.work.clone());
        let state = self.driver.with(move |state| views::agent_state(state, index, &work)).await;
        state.map_or_else(unavailable, |state| json(&state))
    }
}

impl Handler for AgentApi {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let (path, query) = (request.uri().path(), request.uri().query());
        if request.method() != Method::GET {
            return method_not_allowed("GET", request.method());
        }
        let path = path.strip_prefix("/slave(1)").unwrap_or(path);
        if let Some(what) = path.strip_prefix("/files/") {
            let (work, what) = (self.work.clone(), what.trim_end_matches(".json").to_owned());
            let query = query.map(str::to_owned);
            let read = move || files::handle(&work, &what, query.as_deref());
            let answer = tokio::task::spawn_blocking(read).await;
            return answer.unwrap_or_else(|_| empty(StatusCode::INTERNAL_SERVER_ERROR));
        }
        match path {
            "/state" | "/state.json" => self.state().await,
            "/health" => empty(StatusCode::OK),
            "/" => text(
                StatusCode::OK,
                "An agent of a simulated Mesos: /state, /files/browse?path=…\n",
            ),
            _ => empty(StatusCode::NOT_FOUND),
        }
    }
}
