//! Placement: a snapshot of offers and requests in, a plan and its reasons out.
