//! gateway (to come).
