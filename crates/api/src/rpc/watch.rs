//! JobManager.Watch: a stream of statuses, which ends with the job, the caller's deadline or the
//! master, whichever is first.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use peloton_model::{Code, JobId};
use peloton_proto::peloton::job as pb;
use tokio::sync::{OwnedSemaphorePermit, watch as signal};
use tonic::Status;

use super::job_manager::not_found;
use super::{Answer, Api, Context};
use crate::convert::{self, job_id};
use crate::domain::{News, StatusWatch};
use crate::{ApiError, grpc};

/// The answers of one watch.
pub(crate) type WatchStream =
    Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send + 'static>>;

struct Watcher {
    job: JobId,
    news: StatusWatch,
    context: Context,
    closing: signal::Receiver<bool>,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

pub(super) fn watch(
    api: &Api,
    context: &Context,
    request: pb::WatchRequest,
) -> Answer<WatchStream> {
    let job = job_id("id", request.id)?;
    let permit = Arc::clone(&api.watches).try_acquire_owned().map_err(|_| {
        let max = super::MAX_WATCHES;
        ApiError::new(
            Code::ResourceExhausted,
            format!("this master serves {max} watches already; try another, or GetStatus"),
        )
    })?;
    let watcher = Watcher {
        news: StatusWatch::new(Arc::clone(&api.jobs), job.clone()),
        job,
        context: context.clone(),
        closing: api.closing.subscribe(),
        over: false,
        _permit: permit,
    };
    Ok(Box::pin(stream::unfold(watcher, |mut watcher| async {
        let item = watcher.next().await?;
        Some((item, watcher))
    })))
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<pb::WatchResponse, Status>> {
        if self.over {
            return None;
        }
        let deadline = self.context.caller.deadline;
        let news = tokio::select! {
            news = self.news.next() => news,
            () = async { self.closing.wait_for(|closing| *closing).await.ok(); } => {
                Err(ApiError::new(Code::Unavailable, "this master is stopping; ask another"))
            }
            () = tokio::time::sleep_until(deadline), if self.context.has_deadline => {
                Err(ApiError::new(Code::DeadlineExceeded, "the call's deadline has passed"))
            }
        };
        match news {
            Ok(None) => None,
            Ok(Some(News::Status(status))) => {
                let result = Some(convert::job_status(&status));
                Some(Ok(pb::WatchResponse { result, not_found: None }))
            }
            Ok(Some(News::NotFound)) => {
                let not_found = Some(not_found(&self.job));
                Some(Ok(pb::WatchResponse { result: None, not_found }))
            }
            Err(error) => {
                self.over = true;
                Some(Err(grpc::status(error)))
            }
        }
    }
}
