//! Tests of its room.
