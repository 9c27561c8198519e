//! meta (to come).
