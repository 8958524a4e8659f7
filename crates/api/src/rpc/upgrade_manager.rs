//! The procedures of UpgradeManager, which this release does not have yet.

use std::future::ready;

use peloton_model::Code;
use peloton_proto::peloton::upgrade as pb;

use super::{Answer, Api, Context};
use crate::ApiError;

macro_rules! not_yet {
    ($($method:ident($Request:ident) -> $Response:ident;)*) => {$(
        pub(super) fn $method(
            _: &Api,
            _: &Context,
            _: pb::$Request,
        ) -> impl Future<Output = Answer<pb::$Response>> + Send + use<> {
            ready(Err(ApiError::new(
                Code::Unimplemented,
                "upgrades are not part of this release of Peloton; JobManager.Update changes what \
                 needs no running instance to be replaced",
            )))
        }
    )*};
}

not_yet! {
    create(CreateRequest) -> CreateResponse;
    get(GetRequest) -> GetResponse;
    list(ListRequest) -> ListResponse;
    pause(PauseRequest) -> PauseResponse;
    resume(ResumeRequest) -> ResumeResponse;
    rollback(RollbackRequest) -> RollbackResponse;
    abort(AbortRequest) -> AbortResponse;
    get_events(GetEventsRequest) -> GetEventsResponse;
}
