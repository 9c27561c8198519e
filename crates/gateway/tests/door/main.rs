//! Tests at the gateway's door: real HTTP over loopback, requests signed here, a whole stack in memory behind.

mod http;
mod rig;
mod sign;

mod bad_input;
mod objects;
mod uploads;
