//! client (to come).
