//! transport (to come).
