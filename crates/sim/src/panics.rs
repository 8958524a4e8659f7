//! Panics of tasks: tokio keeps them from ending the program, so they are remembered here.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    static WATCHED: RefCell<bool> = const { RefCell::new(false) };
}

/// While it lives, panics of this thread are remembered, not printed.
#[derive(Debug)]
pub(crate) struct Watch;

impl Watch {
    pub(crate) fn begin() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if WATCHED.with_borrow(|watched| *watched) {
                    LAST.with_borrow_mut(|last| *last = Some(info.to_string()));
                } else {
                    before(info);
                }
            }));
        });
        LAST.with_borrow_mut(|last| *last = None);
        WATCHED.with_borrow_mut(|watched| *watched = true);
        Self
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.with_borrow_mut(|watched| *watched = false);
    }
}

/// What the last panic said, if there was one.
pub(crate) fn take() -> Option<String> {
    LAST.with_borrow_mut(Option::take)
}
