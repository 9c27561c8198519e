//! node (to come).
