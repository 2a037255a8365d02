//! The TURN server without its sockets: what a request means and where a packet goes.
//!
//! [`Server`] is fed by `handle_*` and told the time; it answers each packet with one [`Action`].
//! Sockets, ports and other workers are reached through [`Host`], which the driver implements, so
//! that every rule here runs in a test without a network. One `Server` belongs to one worker and
//! shares nothing.

pub mod allocation;
mod audit;
pub mod auth;
mod classic;
pub mod connections;
mod data;
pub mod discovery;
pub mod host;
mod icmp;
pub mod nonce;
mod notice;
pub mod policy;
pub mod pool;
pub mod quota;
mod reply;
mod requests;
pub mod server;
pub mod stats;
mod summary;
pub mod timers;

pub use auth::Credentials;
pub use connections::ConnectionId;
pub use discovery::Discovery;
pub use host::{BindError, ConnectError, EndReason, Event, Host};
pub use icmp::IcmpError;
pub use notice::Notice;
pub use policy::{Policy, Rule, Verdict};
pub use pool::Pool;
pub use requests::Direction;
pub use server::{Action, Config, Header, Incoming, Link, Now, Origin, RelayId, Server, Transport};
pub use stats::{Answers, ByTransport, Stats, Traffic};
pub use summary::Summary;

#[cfg(test)]
mod tests;
