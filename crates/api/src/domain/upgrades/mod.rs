//! Upgrades: begin, steer, read. A change is one transaction on the job's own keys, however many
//! instances the job has; what then becomes of it is the business of whoever owns the job's shard, and is
//! read from what that writes down.

mod begin;
mod control;
pub(super) mod history;
mod list;
mod options;
mod plan;
mod progress;

use std::sync::Arc;

use peloton_model::{JobConfig, JobId, UpgradeId, UpgradeOptions, Version};

pub use control::{Controlled, UpgradeControl};
pub use history::UpgradeView;
pub use list::UpgradePage;
pub use plan::{Plan, PlannedAction, PlannedInstance};
pub use progress::EventPage;

use super::{Caller, PageRequest, Records, Versions};
use crate::ApiError;

/// The service for upgrades.
#[derive(Debug, Clone)]
pub struct Upgrades {
    records: Arc<Records>,
}

/// What is asked of a new upgrade.
#[derive(Debug, Clone, PartialEq)]
pub struct UpgradeRequest {
    /// The whole new configuration.
    pub config: JobConfig,
    /// How to go about.
    pub options: UpgradeOptions,
    /// Whether it is to wait before it begins.
    pub start_paused: bool,
    /// The version that the job is to have; 0 for any.
    pub expected: Version,
    /// Whether it takes the place of one that is under way.
    pub replace: bool,
}

/// What came of a request for a new upgrade.
#[derive(Debug, Clone, PartialEq)]
pub enum Start<T> {
    /// It is there, durably; or this is what it would do.
    Done(T),
    /// There is no such job.
    NotFound,
    /// This one is under way.
    AlreadyExists(UpgradeId),
    /// The job has another version than expected.
    Conflict(Versions),
}

impl Upgrades {
    /// Over these records.
    #[must_use]
    pub fn new(records: Arc<Records>) -> Self {
        Self { records }
    }

    /// Begins an upgrade. Its shard does the rest.
    ///
    /// # Errors
    /// `invalid-argument` with everything that is wrong with configuration and options, or where nothing
    /// differs; `unavailable`; `aborted` when others changed the job until the deadline.
    pub async fn create(
        &self,
        job: &JobId,
        request: &UpgradeRequest,
        caller: &Caller,
    ) -> Result<Start<UpgradeId>, ApiError> {
        begin::create(&self.records, job, request, caller).await
    }

    /// What an upgrade would do, as far as that can be told beforehand.
    ///
    /// # Errors
    /// As [`Upgrades::create`].
    pub async fn plan(
        &self,
        job: &JobId,
        request: &UpgradeRequest,
    ) -> Result<Start<Plan>, ApiError> {
        plan::plan(&self.records, job, request).await
    }

    /// Asks an upgrade to wait, to go on, to go back, or to end.
    ///
    /// # Errors
    /// `unavailable`; `aborted` when others changed the job until the deadline; `failed-precondition` where
    /// a finished upgrade can not be taken back.
    pub async fn control(
        &self,
        id: &UpgradeId,
        control: UpgradeControl,
        caller: &Caller,
    ) -> Result<Controlled, ApiError> {
        control::control(&self.records, id, control, caller).await
    }

    /// Reads an upgrade, with where the configurations differ and where its instances are.
    ///
    /// # Errors
    /// `unavailable`; `internal` where the store is damaged.
    pub async fn get(&self, id: &UpgradeId) -> Result<Option<UpgradeView>, ApiError> {
        history::get(&self.records, id).await
    }

    /// Reads upgrades, the newest first: those of a job, or of all.
    ///
    /// # Errors
    /// `invalid-argument` for a page token that is not one; `unavailable`.
    pub async fn list(
        &self,
        job: Option<&JobId>,
        page: &PageRequest,
    ) -> Result<UpgradePage, ApiError> {
        list::list(&self.records, job, page).await
    }

    /// Reads what happened in an upgrade, the oldest first.
    ///
    /// # Errors
    /// `invalid-argument` for a page token that is not one; `unavailable`.
    pub async fn events(
        &self,
        id: &UpgradeId,
        page: &PageRequest,
    ) -> Result<Option<EventPage>, ApiError> {
        progress::events(&self.records, id, page).await
    }
}
