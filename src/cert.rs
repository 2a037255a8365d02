//! Who supplies the certificate, and which one is current. Owns keys and chains; the handshake
//! that uses them is `front::tls`.

pub mod acme;
mod day;
pub mod files;
pub mod leaf;
pub mod metrics;
pub mod self_signed;
pub mod status;
pub mod store;
mod trust;
pub mod watch;

pub use store::CertStore;
