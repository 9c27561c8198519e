//! Tests at the gateway's door: real HTTP over loopback, requests signed here, a whole stack in memory behind.

mod http;
mod rig;
mod sign;

mod access;
mod bad_input;
mod bounds;
mod browsers;
mod model;
mod objects;
mod pressure;
mod refusals;
mod settings;
mod uploads;
mod versions;
