//! Pauses that grow, at random, so that masters which failed together do not return together.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A sequence of pauses: each bound is twice the one before, up to a greatest one.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    bound: Duration,
    first: Duration,
    last: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, last: Duration) -> Self {
        Self { bound: first, first, last }
    }

    /// The next pause: between half of the bound and the bound.
    pub(crate) fn next(&mut self) -> Duration {
        let bound = self.bound;
        self.bound = (bound * 2).min(self.last);
        bound / 2 + bound.mul_f64(f64::from(random(1024)) / 2048.0)
    }

    /// Something worked: the next pause is short again.
    pub(crate) fn reset(&mut self) {
        self.bound = self.first;
    }
}

/// A random number below `bound`; the hasher's seed is random, and random enough for spreading load.
pub(crate) fn random(bound: u32) -> u32 {
    let number = RandomState::new().build_hasher().finish() % u64::from(bound.max(1));
    u32::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_begin_anew() {
        let (first, last) = (Duration::from_millis(10), Duration::from_millis(100));
        let mut backoff = Backoff::new(first, last);
        for bound in [10, 20, 40, 80, 100, 100].map(Duration::from_millis) {
            let pause = backoff.next();
            assert!(pause >= bound / 2 && pause <= bound, "{pause:?} for {bound:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= first);
    }
}
