//! A client of the API that tries several masters in turn.
