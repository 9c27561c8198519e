//! What every command promises, told as stories and held as properties over random histories.

mod codec;
mod pack;
mod property;
mod story;
