//! store (to come).
