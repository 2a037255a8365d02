//! Who supplies the certificate, and which one is current. Owns keys and chains; the handshake
//! that uses them is `front::tls`.

pub mod files;
pub mod self_signed;
pub mod store;

pub use store::CertStore;
