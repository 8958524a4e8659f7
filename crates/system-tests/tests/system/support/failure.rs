//! What failed last, to be said once more after the logs: of long outputs often only the end is kept.

use std::panic;
use std::sync::{Mutex, Once, PoisonError};

static LAST: Mutex<Option<String>> = Mutex::new(None);

/// From now on the words of each panic are remembered.
pub(super) fn remember() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.to_string());
            before(info);
        }));
    });
}

/// The words of the last panic.
pub(super) fn last() -> Option<String> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
