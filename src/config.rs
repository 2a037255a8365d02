//! Configuration: one file in place of three services'.
//!
//! Text becomes [`Settings`] once, here; nothing after it sees an optional string. What the keys
//! are called and what they default to is in `file`, how the three sources are laid over each
//! other in `load`.

mod build;
pub mod change;
mod consistency;
mod document;
mod effective;
mod environment;
mod file;
mod fitness;
pub mod load;
mod nearest;
pub mod report;
pub mod secret;
pub mod settings;
mod shape;
mod text;
mod unknown;
mod value;

pub use load::{Error, Loaded, Sources, load};
pub use report::{Origin, Problem};
pub use secret::Secret;
pub use settings::Settings;
pub use text::{TextError, duration};
